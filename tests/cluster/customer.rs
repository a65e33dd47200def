//! What a customer's administrator does to the role and the bucket.

use serde_json::json;

use crate::support::Tenant;

pub const PLATFORM: &str = "arn:aws:iam::103850359708:user/RingDNA_Web";
/// What the set-up guide asks of a role.
pub const ALL_FOUR: [&str; 4] = ["s3:PutObject", "s3:PutObjectAcl", "s3:GetObject", "s3:DeleteObject"];

impl Tenant {
    /// The role may do this to the objects of the bucket, and nothing else.
    pub fn permit(&self, actions: &[&str]) {
        let resource = format!("arn:aws:s3:::{}/*", self.bucket);
        let statement = json!({"Effect": "Allow", "Action": actions, "Resource": resource});
        let policy = json!({"Version": "2012-10-17", "Statement": [statement]});
        self.customer_with(&["set-permissions"], &policy.to_string()).expect_ok();
    }

    /// A trust policy that lets in this principal alone, with the External ID.
    pub fn trust_policy(&self, principal: &str) -> String {
        let statement = json!({
            "Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": self.external_id}},
        });
        json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
    }

    /// Deletes the bucket. A recording may arrive between the deletion of the others and that of the bucket.
    pub fn delete_bucket(&self) {
        let attempt = |_| self.customer(&["delete-bucket", "--bucket", &self.bucket]).ok;
        assert!((0..20).any(attempt), "the bucket was never empty");
    }
}
