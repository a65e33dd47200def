//! The spool on disk.

pub mod buffers;
pub mod dir_entry;
pub mod disk_usage;
pub mod files;
pub mod journal;
pub mod lock;
pub mod recording;
pub mod syscalls;
pub mod watcher;
