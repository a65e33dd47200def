//! Objects of one bucket, under one session.
