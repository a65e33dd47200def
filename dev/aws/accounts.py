"""The two sides of every test and demo: the platform's account and its customers'.

A customer is played as the root of an account, the platform as the IAM user whose access key the
operator is given. What is created here is what the set-up guide asks of a real customer, no more.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .callers import root_of
from .client import Client, Response, must

PLATFORM_ACCOUNT = "103850359708"
PLATFORM_USER = "RingDNA_Web"
PLATFORM_PRINCIPAL_ARN = f"arn:aws:iam::{PLATFORM_ACCOUNT}:user/{PLATFORM_USER}"
CONTROL_ROLE = "recording-operator-control"
CONTROL_ROLE_ARN = f"arn:aws:iam::{PLATFORM_ACCOUNT}:role/{CONTROL_ROLE}"

ROLE_NAME = "revenue-call-recording-writer"
OBJECT_ACTIONS = ("s3:PutObject", "s3:PutObjectAcl", "s3:GetObject", "s3:DeleteObject")

Document = dict[str, Any]


def document(*statements: Document) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(actions: str | tuple[str, ...], resource: str, **more: Any) -> Document:
    return {"Effect": "Allow", "Action": actions, "Resource": resource, **more}


def trust(condition: Document | None = None, principal: str = PLATFORM_PRINCIPAL_ARN) -> Document:
    """A trust policy for the platform, under a condition or, when there is none, for any External ID."""
    statement: Document = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
    return document(statement | ({"Condition": condition} if condition else {}))


def enforcing_trust(external_id: str) -> Document:
    return trust({"StringEquals": {"sts:ExternalId": external_id}})


@dataclass(frozen=True)
class PlatformCredentials:
    accessKeyID: str
    secretAccessKey: str
    principalARN: str
    controlRoleARN: str

    def write(self, file: Path) -> None:
        """Writes the file readable by its owner alone."""
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            json.dump(asdict(self), out, indent=2)

    @classmethod
    def read(cls, file: Path) -> PlatformCredentials:
        return cls(**json.loads(file.read_text()))


class Platform:
    """The platform's account: a user that may only assume roles, and the control role, which accepts any External ID."""

    def __init__(self, endpoint: str) -> None:
        self._iam = Client(endpoint, root_of(PLATFORM_ACCOUNT).credentials)

    def create(self) -> PlatformCredentials:
        self._call("CreateUser", UserName=PLATFORM_USER)
        policy = json.dumps(document(allow("sts:AssumeRole", "*")))
        name = "assume-customer-roles"
        self._call("PutUserPolicy", UserName=PLATFORM_USER, PolicyName=name, PolicyDocument=policy)
        self._call("CreateRole", RoleName=CONTROL_ROLE, AssumeRolePolicyDocument=json.dumps(trust()))
        return self.new_key()

    def new_key(self) -> PlatformCredentials:
        """Creates a further key and deletes inactive ones, because a user has two at most."""
        for key in self._call("ListAccessKeys", UserName=PLATFORM_USER).children("member"):
            if key["Status"] == "Inactive":
                self._call("DeleteAccessKey", UserName=PLATFORM_USER, AccessKeyId=key["AccessKeyId"])
        key = self._call("CreateAccessKey", UserName=PLATFORM_USER)
        secret = key.text("SecretAccessKey")
        return PlatformCredentials(key.text("AccessKeyId"), secret, PLATFORM_PRINCIPAL_ARN, CONTROL_ROLE_ARN)

    def set_key(self, access_key_id: str, active: bool) -> None:
        status = "Active" if active else "Inactive"
        self._call("UpdateAccessKey", UserName=PLATFORM_USER, AccessKeyId=access_key_id, Status=status)

    def _call(self, action: str, **parameters: str) -> Response:
        return must(self._iam.query("iam", action, **parameters))


@dataclass(frozen=True)
class Version:
    key: str
    id: str
    is_marker: bool


class Customer:
    """A customer's administrator, with the rights of the customer's account."""

    def __init__(self, endpoint: str, account: str, region: str = "us-east-1") -> None:
        self.account = account
        self.region = region
        self.aws = Client(endpoint, root_of(account).credentials, region)

    def role_arn(self, role: str = ROLE_NAME) -> str:
        return f"arn:aws:iam::{self.account}:role/{role}"

    def create_bucket(self, bucket: str, ownership: str = "BucketOwnerPreferred") -> None:
        constraint = f"<LocationConstraint>{self.region}</LocationConstraint>"
        # us-east-1 is the one region that a LocationConstraint must not name.
        body = "" if self.region == "us-east-1" else (
            f'<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{constraint}'
            "</CreateBucketConfiguration>"
        )
        headers = {"x-amz-object-ownership": ownership}
        must(self.aws.s3("PUT", f"/{bucket}", headers=headers, body=body.encode()))

    def set_versioning(self, bucket: str) -> None:
        body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        must(self.aws.s3("PUT", f"/{bucket}", [("versioning", "")], body=body.encode()))

    def create_kms_key(self) -> str:
        """Creates a customer managed key and returns its ARN."""
        return json.loads(must(self.aws.kms("CreateKey")).body)["KeyMetadata"]["Arn"]

    def encrypt_by_default(self, bucket: str) -> str:
        """Encrypts the bucket with a new key and returns the key's ARN."""
        key = self.create_kms_key()
        default = f"<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>{key}</KMSMasterKeyID>"
        rule = f"<Rule><ApplyServerSideEncryptionByDefault>{default}</ApplyServerSideEncryptionByDefault></Rule>"
        body = f"<ServerSideEncryptionConfiguration>{rule}</ServerSideEncryptionConfiguration>"
        must(self.aws.s3("PUT", f"/{bucket}", [("encryption", "")], body=body.encode()))
        return key

    def delete_bucket(self, bucket: str) -> None:
        """Deletes the bucket with everything in it, versions included."""
        for version in self.list_versions(bucket):
            must(self.aws.s3("DELETE", f"/{bucket}/{version.key}", [("versionId", version.id)]))
        must(self.aws.s3("DELETE", f"/{bucket}"))

    def create_role(self, trust_policy: Document, role: str = ROLE_NAME) -> None:
        policy = json.dumps(trust_policy)
        must(self.aws.query("iam", "CreateRole", RoleName=role, AssumeRolePolicyDocument=policy))

    def list_roles(self) -> list[str]:
        return must(self.aws.query("iam", "ListRoles")).texts("RoleName")

    def delete_role(self, role: str = ROLE_NAME) -> None:
        policies = must(self.aws.query("iam", "ListRolePolicies", RoleName=role))
        for name in policies.texts("member"):
            must(self.aws.query("iam", "DeleteRolePolicy", RoleName=role, PolicyName=name))
        must(self.aws.query("iam", "DeleteRole", RoleName=role))

    def set_trust(self, trust_policy: Document, role: str = ROLE_NAME) -> None:
        policy = json.dumps(trust_policy)
        must(self.aws.query("iam", "UpdateAssumeRolePolicy", RoleName=role, PolicyDocument=policy))

    def set_permissions(self, policy: Document, role: str = ROLE_NAME) -> None:
        text = json.dumps(policy)
        must(self.aws.query("iam", "PutRolePolicy", RoleName=role, PolicyName="recordings", PolicyDocument=text))

    def set_bucket_policy(self, bucket: str, policy: Document) -> None:
        must(self.aws.s3("PUT", f"/{bucket}", [("policy", "")], body=json.dumps(policy).encode()))

    def delete_bucket_policy(self, bucket: str) -> None:
        must(self.aws.s3("DELETE", f"/{bucket}", [("policy", "")]))

    def set_up(self, bucket: str, external_id: str, role: str = ROLE_NAME) -> None:
        """Does what the guide asks of a customer: bucket, role, trust policy and the four permissions."""
        self.create_bucket(bucket)
        self.grant_role(bucket, external_id, role)

    def grant_role(self, bucket: str, external_id: str, role: str = ROLE_NAME) -> None:
        self.create_role(enforcing_trust(external_id), role)
        self.set_permissions(document(allow(OBJECT_ACTIONS, f"arn:aws:s3:::{bucket}/*")), role)

    def list_objects(self, bucket: str, prefix: str = "") -> list[str]:
        keys: list[str] = []
        query = [("list-type", "2"), ("prefix", prefix)]
        page = must(self.aws.s3("GET", f"/{bucket}", query))
        keys += page.texts("Key")
        while token := page.text("NextContinuationToken"):
            page = must(self.aws.s3("GET", f"/{bucket}", [*query, ("continuation-token", token)]))
            keys += page.texts("Key")
        return keys

    def list_versions(self, bucket: str, prefix: str = "") -> list[Version]:
        """Lists versions, then delete markers. An object of an unversioned bucket has the version `null`."""
        found: dict[bool, list[Version]] = {False: [], True: []}
        more: list[tuple[str, str]] = []
        while True:
            page = must(self.aws.s3("GET", f"/{bucket}", [("versions", ""), ("prefix", prefix), *more]))
            for is_marker, element in ((False, "Version"), (True, "DeleteMarker")):
                rows = page.children(element)
                found[is_marker] += [Version(row["Key"], row["VersionId"], is_marker) for row in rows]
            if page.text("IsTruncated") != "true":
                return found[False] + found[True]
            names = (("key-marker", "NextKeyMarker"), ("version-id-marker", "NextVersionIdMarker"))
            more = [(parameter, page.text(element)) for parameter, element in names]

    def get_object(self, bucket: str, key: str) -> bytes:
        return must(self.aws.s3("GET", f"/{bucket}/{key}")).body

    def head_object(self, bucket: str, key: str) -> Response:
        return must(self.aws.s3("HEAD", f"/{bucket}/{key}", headers={"x-amz-checksum-mode": "ENABLED"}))

    def put_object(self, bucket: str, key: str, body: bytes) -> None:
        must(self.aws.s3("PUT", f"/{bucket}/{key}", body=body))

    def delete_object(self, bucket: str, key: str) -> None:
        must(self.aws.s3("DELETE", f"/{bucket}/{key}"))
