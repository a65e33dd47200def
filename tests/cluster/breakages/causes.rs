//! How each row of the table is broken and mended.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::table::{PodGone, Row};
use crate::customer::{ALL_FOUR, PLATFORM};
use crate::recording::kill_sidecar;
use crate::support::{ROLE, Tenant, kubectl_with, repository};

/// A row with the means to break it.
pub struct Cause<'a> {
    row: &'a Row,
}

/// A destination's spec or a Secret's content that a row breaks is found at the next validation, which is asked for.
fn edit(tenant: &Tenant, edit: impl FnOnce(&Tenant)) {
    edit(tenant);
    tenant.revalidate("acme");
}

impl<'a> Cause<'a> {
    pub fn of(row: &'a Row) -> Self {
        Cause { row }
    }

    pub fn tenant(&self) -> Tenant {
        // Names of namespaces are short, and each test process numbers its own.
        let name: String = self.row.what.chars().filter(char::is_ascii_alphabetic).take(20).collect();
        Tenant::ready(&format!("break-{}", name.to_lowercase()))
    }

    /// The recorder, on the spool that the row wants.
    pub fn recorder(&self, tenant: &Tenant) -> Value {
        let mut pod = tenant.recorder("recorder");
        // It is the row's to say when files are written.
        pod["spec"]["containers"][0]["command"][2] = json!(
            "umask 022; trap 'exit 0' TERM; cd /recordings; n=0; while :; do \
             if [ -e /tmp/go ]; then n=$((n + 1)); echo sound > $n.part && mv $n.part $n.wav; fi; sleep 1; done"
        );
        match self.row.what {
            "the volume belongs to root" => {
                let directory = self.host_directory(tenant);
                std::fs::create_dir_all(&directory).unwrap();
                chown(&directory, Some(0), Some(0)).unwrap();
                std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700)).unwrap();
                pod["spec"]["volumes"][0] = json!({"name": "recordings", "hostPath": {"path": directory}});
            }
            "the volume is nearly full" => {
                pod["spec"]["volumes"][0] =
                    json!({"name": "recordings", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}});
            }
            "the spool is on a claim, and the role is deleted" | "another uploader holds the spool" => {
                self.make_claim(tenant);
                pod["spec"]["volumes"][0] =
                    json!({"name": "recordings", "persistentVolumeClaim": {"claimName": "recordings"}});
            }
            "a Job completes while S3 refuses" => {
                pod["spec"]["restartPolicy"] = json!("Never");
            }
            _ => {}
        }
        pod
    }

    /// A recorder whose spool is sound again.
    pub fn sound_recorder(&self, tenant: &Tenant) -> Value {
        if self.row.group == "Spool" { tenant.recorder("recorder") } else { self.recorder(tenant) }
    }

    /// Lets the recorder write a file a second.
    pub fn begin(&self, tenant: &Tenant) {
        tenant
            .shell("recorder", "touch /tmp/go; echo sound > /recordings/first.part && mv /recordings/first.part /recordings/first.wav");
    }

    /// Whether nothing is ever delivered from the first spool.
    pub fn is_there_from_the_start(&self) -> bool {
        self.row.what == "the volume belongs to root"
    }

    pub fn break_it(&self, tenant: &Tenant) {
        let without = |left_out: &[&str]| {
            let rest: Vec<_> = ALL_FOUR.into_iter().filter(|action| !left_out.contains(action)).collect();
            tenant.permit(&rest);
        };
        let refuse = || without(&["s3:PutObject"]);
        let fault = |kind: &str| {
            tenant.fault(kind, &["--action", "PutObject", "CreateMultipartUpload", "UploadPart"])
        };
        match self.row.what {
            "the Secret is deleted" => edit(tenant, |tenant| {
                tenant.kubectl(&["delete", "secret", "acme-external-id"]).expect_ok();
            }),
            "its key is removed" => {
                edit(tenant, |tenant| secret(tenant, "recordings.revenue.io/external-id", "other", "x"))
            }
            "its External ID is another one" => {
                edit(tenant, |tenant| tenant.apply_secret("Another-External-ID-1"))
            }
            "it is created again with another type" => {
                edit(tenant, |tenant| secret(tenant, "Opaque", "externalID", &tenant.external_id));
            }
            "its External ID is malformed" => {
                edit(tenant, |tenant| tenant.apply_secret("spaces are not allowed"))
            }
            "the role is deleted" | "the spool is on a claim, and the role is deleted" => {
                tenant.customer(&["delete-role"]).expect_ok();
            }
            "its trust policy names another External ID" => edit(tenant, |tenant| {
                tenant
                    .customer_with(&["trust-closed", "--external-id", "-"], "Another-External-ID-2")
                    .expect_ok();
            }),
            "its trust policy names another principal" => edit(tenant, |tenant| {
                let policy = tenant.trust_policy("arn:aws:iam::999999999999:user/somebody");
                tenant.customer_with(&["set-trust"], &policy).expect_ok();
            }),
            "its trust policy lets everybody in" => edit(tenant, |tenant| {
                tenant.customer(&["trust-open"]).expect_ok();
            }),
            "s3:PutObject is removed" => refuse(),
            "s3:PutObjectAcl is removed" => without(&["s3:PutObjectAcl"]),
            "s3:GetObject is removed" => edit(tenant, |_| without(&["s3:GetObject"])),
            "s3:DeleteObject is removed" => edit(tenant, |_| without(&["s3:DeleteObject"])),
            "all permissions are removed" => tenant.permit(&["s3:ListAllMyBuckets"]),
            "the bucket is deleted" => tenant.delete_bucket(),
            "a bucket policy denies the role" => bucket_policy(tenant, &json!({})),
            "a bucket policy denies puts with an ACL" => {
                bucket_policy(tenant, &json!({"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}))
            }
            "the destination names another owner" => {
                tenant.apply_destination("acme", json!({"expectedBucketOwner": "999999999999"}));
            }
            "the destination names another region" => {
                tenant.apply_destination("acme", json!({"region": "eu-west-1"}))
            }
            "the destination names a bucket that does not exist" => {
                tenant.apply_destination("acme", json!({"bucket": format!("{}-missing", tenant.bucket)}));
            }
            "the role may not use the bucket's new KMS key" => {
                tenant.customer(&["encrypt", "--bucket", &tenant.bucket]).expect_ok();
            }
            "it is suspended" => tenant.apply_destination("acme", json!({"suspend": true})),
            "it is deleted" => _ = tenant.kubectl(&["delete", "recordingdestination", "acme"]).expect_ok(),
            "S3 answers 503 to every call" => fault("unavailable"),
            "S3 asks to slow down for good" => fault("throttle"),
            "S3 does not answer" => fault("hang"),
            "connections to S3 are reset" => fault("reset"),
            "a proxy answers 403 in place of S3" => fault("proxy-403"),
            "a proxy answers 502 in place of S3" => fault("proxy-502"),
            "S3 answers what is not HTTP" => fault("garbage"),
            "STS answers 503 to every call" => edit(tenant, |tenant| {
                tenant.fault("unavailable", &["--action", "AssumeRole"]);
                tenant.apply_destination("acme", json!({"sessionDurationSeconds": 1800}));
            }),
            "the volume belongs to root" | "the volume is nearly full" => {
                tenant.shell("recorder", "dd if=/dev/zero of=/recordings/large.part bs=1024 count=3800");
            }
            "a directory cannot be read" => in_pod(tenant, "mkdir d; echo sound > d/a.wav; chmod 0 d"),
            "a directory cannot be written" => {
                in_pod(tenant, "mkdir d; exec 3>d/a.wav; chmod 500 d; echo sound >&3; exec 3>&-");
            }
            "another uploader holds the spool" => {
                let mut second = self.recorder(tenant);
                second["metadata"]["name"] = json!("second");
                tenant.apply(&second).expect_ok();
            }
            "a file cannot be a recording" => in_pod(tenant, "ln -s /etc/passwd poison.wav"),
            "a Job completes while S3 refuses" => {
                refuse();
                tenant.shell("recorder", "kill -TERM 1");
            }
            "the pod is deleted by force while S3 refuses" | "the sidecar is killed while S3 refuses" => {
                refuse();
                if self.row.what.starts_with("the sidecar") {
                    kill_sidecar(tenant, "recorder");
                }
            }
            other => panic!("no way to break {other:?}"),
        }
    }

    /// Ends the pod as the row says, sooner than its grace period.
    pub fn end_pod(&self, tenant: &Tenant) {
        let force: &[&str] = match self.row.pod_gone {
            PodGone::Entry("Unaccounted") => &["--force", "--grace-period=0"],
            _ => &["--grace-period=10"],
        };
        tenant.kubectl(&[&["delete", "pod", "recorder", "--wait=true"], force].concat());
    }

    /// Whether it could be mended.
    pub fn mend(&self, tenant: &Tenant) -> bool {
        match self.row.group {
            "Secret" => {
                tenant.kubectl(&["delete", "secret", "acme-external-id", "--ignore-not-found"]).expect_ok();
                tenant.apply_secret(&tenant.external_id);
                tenant.revalidate("acme");
            }
            "Role" => {
                let role = ["create-role", "--role", ROLE];
                let policy = tenant.trust_policy(PLATFORM);
                if !tenant.customer_with(&role, &policy).ok {
                    tenant.customer_with(&["set-trust"], &policy).expect_ok();
                }
                tenant.permit(&ALL_FOUR);
            }
            "Permissions" | "Pod" => tenant.permit(&ALL_FOUR),
            "Bucket" => {
                tenant.customer(&["delete-bucket-policy", "--bucket", &tenant.bucket]);
                tenant.customer(&[
                    "create",
                    "--bucket",
                    &tenant.bucket,
                    "--external-id",
                    "x",
                    "--role",
                    "unused",
                ]);
                tenant.apply_destination("acme", json!({"expectedBucketOwner": null}));
            }
            "Network" => tenant.no_fault(),
            "Destination" => tenant.apply_destination("acme", json!({"suspend": false})),
            "Spool" => {
                if self.row.what.contains("claim") {
                    return false;
                }
            }
            _ => return false,
        }
        tenant.revalidate("acme");
        true
    }

    fn host_directory(&self, tenant: &Tenant) -> PathBuf {
        repository().join("target/dev/run/disk").join(&tenant.namespace)
    }

    fn make_claim(&self, tenant: &Tenant) {
        let directory = self.host_directory(tenant);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": tenant.namespace}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "storageClassName": "",
            "hostPath": {"path": directory}, "claimRef": {"namespace": tenant.namespace, "name": "recordings"},
        }});
        kubectl_with(&["apply", "--filename=-"], &volume.to_string()).expect_ok();
        tenant
            .apply(&json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "recordings"}, "spec": {
                "accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeName": tenant.namespace,
                "resources": {"requests": {"storage": "1Gi"}},
            }}))
            .expect_ok();
    }
}

fn in_pod(tenant: &Tenant, script: &str) {
    tenant.shell("recorder", &format!("cd /recordings; {script}"));
}

fn secret(tenant: &Tenant, kind: &str, key: &str, value: &str) {
    tenant.kubectl(&["delete", "secret", "acme-external-id"]).expect_ok();
    tenant
        .apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "acme-external-id"},
            "type": kind, "stringData": {key: value},
        }))
        .expect_ok();
}

fn bucket_policy(tenant: &Tenant, condition: &Value) {
    let mut statement = json!({
        "Effect": "Deny", "Principal": {"AWS": tenant.role_arn()}, "Action": "s3:PutObject",
        "Resource": format!("arn:aws:s3:::{}/*", tenant.bucket),
    });
    if condition.as_object().is_some_and(|keys| !keys.is_empty()) {
        statement["Condition"] = condition.clone();
    }
    let policy = json!({"Version": "2012-10-17", "Statement": [statement]});
    tenant.customer_with(&["set-bucket-policy", "--bucket", &tenant.bucket], &policy.to_string()).expect_ok();
}
