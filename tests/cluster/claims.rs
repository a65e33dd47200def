//! Two destinations that want the same.
