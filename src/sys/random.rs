//! Numbers that nobody can guess, from the kernel.
//!
//! They name spool folders and mails, seed the resolver's ids and the hooks' own generators. The
//! system call is made by number because C libraries and kernels of 2011 do not know it; there
//! `/dev/urandom` gives the same.

use nix::errno::Errno;
use nix::libc;
use std::fs::File;
use std::io::{self, Read};

/// Fills `buffer` with random octets fit for secrets.
///
/// # Errors
/// When neither the system call nor `/dev/urandom` works: a chroot without devices on a kernel
/// before 3.17. The caller must not go on with anything that has to be unguessable.
pub fn bytes(buffer: &mut [u8]) -> io::Result<()> {
    let mut rest = &mut *buffer;
    while !rest.is_empty() {
        match call(rest) {
            Ok(0) => return device(rest),
            Ok(count) => rest = rest.split_at_mut_checked(count).map_or(&mut [], |halves| halves.1),
            Err(Errno::EINTR) => {}
            // An old kernel, or a filter that does not know the call.
            Err(_) => return device(rest),
        }
    }
    Ok(())
}

/// One random number.
///
/// # Errors
/// As [`bytes`].
pub fn u64() -> io::Result<u64> {
    let mut octets = [0; 8];
    bytes(&mut octets)?;
    Ok(u64::from_ne_bytes(octets))
}

/// Asks the kernel once; it may give fewer octets than there is room for.
fn call(buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most `len` octets to the pointer, and both come from one live
    // exclusive slice of plain octets. Flags 0 wait only until the kernel was seeded once.
    #[expect(unsafe_code, reason = "old C libraries have no getrandom")]
    let result = unsafe {
        libc::syscall(libc::SYS_getrandom, buffer.as_mut_ptr(), buffer.len(), 0 as libc::c_uint)
    };
    Errno::result(result).map(|count| usize::try_from(count).unwrap_or(0))
}

/// Reads the device that every kernel has.
fn device(buffer: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Source = fn(&mut [u8]) -> io::Result<()>;

    #[test]
    fn both_sources_fill_the_whole_buffer() {
        for source in [bytes, device] as [Source; 2] {
            for len in [0, 1, 7, 256, 5_000] {
                let mut buffer = vec![0u8; len + 1];
                source(buffer.split_last_mut().unwrap().1).unwrap();
                assert_eq!(buffer.last(), Some(&0), "wrote past {len}");
                if len >= 256 {
                    // The chance that 16 octets in a row are all zero is 2^-128.
                    assert!(buffer[..len].chunks(16).all(|c| c.len() < 16 || c != [0u8; 16]));
                }
            }
        }
        assert_ne!(u64().unwrap(), u64().unwrap());
    }
}
