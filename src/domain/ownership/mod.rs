//! Who owns a claim on a bucket and prefix, a role and an External ID. Claims and the `Exclusive`
//! condition are decided here once they exist; until then the condition is absent and uncounted.
