//! What the role and the bucket allow → what the destination says.
