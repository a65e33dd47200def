//! What trust policy the customer wrote → whether it is found to enforce the External ID.
