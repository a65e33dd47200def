//! AWS, DNS and the API server out of order: Unknown, then right.
