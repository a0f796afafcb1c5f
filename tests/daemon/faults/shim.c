/* Lets system calls of a daemon fail, or be its last: loaded by LD_PRELOAD, told by a file that it maps
 * and that the test writes (MAILREEVE_FAULTS). Built by the test with cc; no part of the program. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Its layout is known to shim.rs. */
struct order {
    char call[16];      /* the name of the call, or "*" */
    _Atomic int32_t error;
    _Atomic int32_t action;
    _Atomic int32_t nth; /* the first is 1 */
    _Atomic int32_t seen;
    _Atomic int32_t fired;
    _Atomic int32_t armed;
    _Atomic int32_t loaded;
    _Atomic int32_t lasts; /* all calls from the nth on */
    _Atomic int64_t clock; /* seconds that the wall clock is ahead */
};

enum { FAIL, WORK_AND_FAIL, DIE };

static struct order *order;

extern int open64(const char *, int, ...);

__attribute__((constructor)) static void load(void) {
    const char *path = getenv("MAILREEVE_FAULTS");
    int fd = path ? open64(path, 2 /* O_RDWR */) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED) {
        order = map;
        order->loaded = 1;
    }
}

/* What this call is to do: nothing special (-1), or an action. */
static int fate(const char *call) {
    if (!order || !order->armed)
        return -1;
    if (order->call[0] != '*' && strcmp(order->call, call) != 0)
        return -1;
    int number = ++order->seen;
    if (number < order->nth || (number > order->nth && !order->lasts))
        return -1;
    order->fired = 1;
    if (order->action == DIE) {
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
    return order->action;
}

/* Standard error is what the test reads, and an eventfd never fails. */
static int is_spared(int fd) {
    struct stat it;
    int before = errno;
    int spared = fd == 2 || fstat(fd, &it) != 0 || (it.st_mode & S_IFMT) == 0;
    errno = before;
    return spared;
}

#define REAL(symbol) \
    static __typeof__(symbol) *real; \
    if (!real) \
        real = (__typeof__(symbol) *)dlsym(RTLD_NEXT, #symbol)

#define WITH(call, spared, result, failure, real_call) \
    int doom = (spared) ? -1 : fate(call); \
    if (doom == FAIL) { \
        errno = order->error; \
        return failure; \
    } \
    result = real_call; \
    if (doom == WORK_AND_FAIL) { \
        errno = order->error; \
        return failure; \
    } \
    return value

#define CALL(call, symbol, params, args) \
    extern int symbol params; \
    int symbol params { \
        REAL(symbol); \
        WITH(call, 0, int value, -1, real args); \
    }

#define ON_FD(call, type, symbol, params, args) \
    extern type symbol params; \
    type symbol params { \
        REAL(symbol); \
        WITH(call, is_spared(fd), type value, -1, real args); \
    }

/* Where the mode of a variadic call is not given, what is in its place is ignored. */
#define OPEN(symbol) \
    int symbol(const char *path, int flags, ...) { \
        REAL(symbol); \
        __builtin_va_list list; \
        __builtin_va_start(list, flags); \
        unsigned mode = __builtin_va_arg(list, unsigned); \
        __builtin_va_end(list); \
        WITH("open", 0, int value, -1, real(path, flags, mode)); \
    }

extern int open(const char *, int, ...);
OPEN(open)
OPEN(open64)

extern int openat(int, const char *, int, ...);
int openat(int folder, const char *path, int flags, ...) {
    REAL(openat);
    __builtin_va_list list;
    __builtin_va_start(list, flags);
    unsigned mode = __builtin_va_arg(list, unsigned);
    __builtin_va_end(list);
    WITH("open", 0, int value, -1, real(folder, path, flags, mode));
}

ON_FD("write", ssize_t, write, (int fd, const void *data, size_t count), (fd, data, count))
ON_FD("write", ssize_t, pwrite64, (int fd, const void *data, size_t count, int64_t at),
      (fd, data, count, at))
ON_FD("read", ssize_t, read, (int fd, void *data, size_t count), (fd, data, count))
ON_FD("send", ssize_t, send, (int fd, const void *data, size_t count, int flags),
      (fd, data, count, flags))
ON_FD("recv", ssize_t, recv, (int fd, void *data, size_t count, int flags),
      (fd, data, count, flags))
struct iovec;
ON_FD("send", ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
ON_FD("recv", ssize_t, readv, (int fd, const struct iovec *parts, int count), (fd, parts, count))
ON_FD("fsync", int, fsync, (int fd), (fd))
ON_FD("fsync", int, fdatasync, (int fd), (fd))
ON_FD("fsync", int, syncfs, (int fd), (fd))
ON_FD("ftruncate", int, ftruncate64, (int fd, int64_t length), (fd, length))
struct statfs;
ON_FD("stat", int, fstatfs64, (int fd, struct statfs *it), (fd, it))

CALL("link", linkat, (int a, const char *from, int b, const char *to, int flags),
     (a, from, b, to, flags))
CALL("unlink", unlink, (const char *path), (path))
CALL("unlink", unlinkat, (int folder, const char *path, int flags), (folder, path, flags))
CALL("mkdir", mkdir, (const char *path, mode_t mode), (path, mode))
CALL("mkdir", mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode))
CALL("rename", rename, (const char *from, const char *to), (from, to))
CALL("stat", stat, (const char *path, struct stat *it), (path, it))
CALL("stat", statx, (int folder, const char *path, int flags, unsigned mask, struct statx *it),
     (folder, path, flags, mask, it))
CALL("pipe", pipe2, (int ends[2], int flags), (ends, flags))
CALL("socket", socket, (int domain, int type, int protocol), (domain, type, protocol))
struct sockaddr;
CALL("connect", connect, (int fd, const struct sockaddr *to, unsigned length), (fd, to, length))
CALL("accept", accept4, (int fd, struct sockaddr *of, unsigned *length, int flags),
     (fd, of, length, flags))
CALL("poll", poll, (struct pollfd *fds, nfds_t count, int patience), (fds, count, patience))
CALL("wait", waitpid, (pid_t pid, int *status, int flags), (pid, status, flags))
CALL("wait", waitid, (idtype_t type, id_t id, siginfo_t *it, int flags), (type, id, it, flags))
struct epoll_event;
CALL("epoll", epoll_ctl, (int fd, int operation, int other, struct epoll_event *event),
     (fd, operation, other, event))

/* Whatever it says, the descriptor is closed. */
int close(int fd) {
    REAL(close);
    int spared = is_spared(fd);
    int doom = spared ? -1 : fate("close");
    int value = real(fd);
    if (doom >= 0) {
        errno = order->error;
        return -1;
    }
    return value;
}

void *mmap64(void *near, size_t length, int rights, int flags, int fd, off64_t at) {
    REAL(mmap64);
    WITH("mmap", fd < 0, void *value, MAP_FAILED, real(near, length, rights, flags, fd, at));
}

/* These tell their error by what they return. */
#define SPAWN(symbol) \
    int symbol(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, \
               const posix_spawnattr_t *how, char *const argv[], char *const envp[]) { \
        REAL(symbol); \
        WITH("spawn", 0, int value, order->error, real(pid, path, actions, how, argv, envp)); \
    }
SPAWN(posix_spawn)
SPAWN(posix_spawnp)

int clock_gettime(clockid_t clock, struct timespec *time) {
    REAL(clock_gettime);
    int value = real(clock, time);
    if (value == 0 && order && clock == CLOCK_REALTIME)
        time->tv_sec += order->clock;
    return value;
}
