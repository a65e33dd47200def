//! One recording's way into the bucket: [`deliver`] takes it as far as it goes.
//!
//! | file | holds |
//! |---|---|
//! | `deliver` | the steps: open if complete, upload, verify, remove |
//! | `put`, `multipart` | sends it as a whole, or in parts with a journal |
//! | `verify` | asks S3 what it holds, until that is known |
//! | `outcome`, `job`, `context` | how an attempt ended, what is known of a recording, what attempts share |
//! | `body`, `concurrency`, `bandwidth` | the bytes on their way: how they are read, how many, how fast |

pub mod bandwidth;
pub mod body;
pub mod concurrency;
pub mod context;
pub mod deliver;
pub mod job;
pub mod multipart;
pub mod outcome;
pub mod put;
pub mod verify;
