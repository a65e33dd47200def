//! uploader
mod recording;
mod spool;
mod syscalls;
mod watch;
