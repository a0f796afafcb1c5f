//! Chooses the list of plugins by the client's address, at accept.
//!
//! Where the file `plugins` has the line `peers`, the lines of a file under `peers/` take its place:
//! the one whose name is the client's address, or else its longest prefix (`192.168.1.5`, then
//! `192.168.1`, `192.168`, `192`; IPv6 by groups, `2001:db8:1`), or else `0`. `::1` goes to `local`. A
//! client that no list names is refused. After a successful AUTH the list `local` serves the client for
//! the rest of the connection, if there is one. Links to one file are one list.
//!
//! Arguments: none.
//!
//! Config files: `peers/*`, ordinary lists of plugins.
//!
//! Replies: `554 5.7.1 Sorry, service not available for you` where no list serves the client.
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.
