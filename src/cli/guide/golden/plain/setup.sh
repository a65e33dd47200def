#!/usr/bin/env bash
# Lets the platform deliver call recordings into s3://acme-recordings/calls/
#
#   ./setup.sh --dry-run          say what is there and what would change, and change nothing
#   ./setup.sh                    set up, or put right what has changed since; run it as often as you like
#   ./setup.sh --only-this-role   the same, and a bucket policy by which nobody but the role uses objects, you included
#   ./setup.sh --revoke           end the platform's access, running sessions included
#
# Run it in AWS CloudShell, or anywhere with bash and the AWS CLI, as an administrator of account 111111111111.
# The External ID is taken from the environment variable EXTERNAL_ID; without it you are asked for it, or the one that
# the role has already is kept. It is never shown, and never an argument of a command.
set -euo pipefail
export LC_ALL=C AWS_PAGER="" AWS_REGION="us-east-1" AWS_DEFAULT_REGION="us-east-1"

ACCOUNT="111111111111"
BUCKET="acme-recordings"
REGION="us-east-1"
ROLE="revenue-call-recording-writer"
ROLE_ARN="arn:aws:iam::111111111111:role/revenue-call-recording-writer"
PLACEHOLDER="<your External ID>"

# Who may assume the role.
read -r -d '' TRUST <<'JSON' || true
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Principal": {
        "AWS": "arn:aws:iam::103850359708:user/RingDNA_Web"
      },
      "Action": "sts:AssumeRole",
      "Condition": {
        "StringEquals": {
          "sts:ExternalId": "<your External ID>"
        }
      }
    }
  ]
}
JSON

# What the role may do.
read -r -d '' PERMISSIONS <<'JSON' || true
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "s3:PutObject",
        "s3:PutObjectAcl",
        "s3:GetObject",
        "s3:DeleteObject"
      ],
      "Resource": "arn:aws:s3:::acme-recordings/*"
    }
  ]
}
JSON

# Of the bucket, where you ask for it: nobody else uses objects.
read -r -d '' BUCKET_POLICY <<'JSON' || true
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "OnlyTheRecordingWriterUsesObjects",
      "Effect": "Deny",
      "Principal": "*",
      "Action": [
        "s3:PutObject",
        "s3:PutObjectAcl",
        "s3:GetObject",
        "s3:DeleteObject"
      ],
      "Resource": "arn:aws:s3:::acme-recordings/*",
      "Condition": {
        "ArnNotEquals": {
          "aws:PrincipalArn": [
            "arn:aws:iam::111111111111:role/revenue-call-recording-writer"
          ]
        }
      }
    }
  ]
}
JSON

# Uploads that were never finished, and the platform's test objects, go by themselves.
read -r -d '' LIFECYCLE_RULES <<'JSON' || true
[
  {
    "ID": "recordings-probe-objects",
    "Status": "Enabled",
    "Filter": {"Prefix": "calls/.recording-operator/"},
    "Expiration": {"Days": 1},
    "NoncurrentVersionExpiration": {"NoncurrentDays": 1}
  },
  {
    "ID": "recordings-unfinished-uploads",
    "Status": "Enabled",
    "Filter": {"Prefix": "calls/"},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}
  }
]
JSON

# For --revoke: no new sessions, and the end of those issued until now.
read -r -d '' NO_TRUST <<'JSON' || true
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Deny",
      "Principal": {
        "AWS": "*"
      },
      "Action": "sts:AssumeRole"
    }
  ]
}
JSON
read -r -d '' NO_OLDER_SESSIONS <<'JSON' || true
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Deny",
      "Action": "*",
      "Resource": "*",
      "Condition": {
        "DateLessThan": {
          "aws:TokenIssueTime": "<now>"
        }
      }
    }
  ]
}
JSON

DRY_RUN="" ONLY_THIS_ROLE="" REVOKE=""
for argument in "$@"; do
  case $argument in
    --dry-run) DRY_RUN=yes ;;
    --only-this-role) ONLY_THIS_ROLE=yes ;;
    --revoke) REVOKE=yes ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
    *) echo "setup.sh: unknown argument $argument; see ./setup.sh --help" >&2; exit 2 ;;
  esac
done

main() {
  check_account
  look_at_role
  if [[ $REVOKE ]]; then
    revoke
    return
  fi
  take_external_id
  bucket
  ownership
  lifecycle
  role
  permissions
  [[ -z $ONLY_THIS_ROLE ]] || bucket_policy
  send_back
}

check_account() {
  local account
  account=$(aws sts get-caller-identity --query Account --output text) ||
    fail "the AWS CLI has no working credentials; log in to account $ACCOUNT first"
  [[ $account == "$ACCOUNT" ]] || fail "these are credentials of account $account; this is for account $ACCOUNT"
}

bucket() {
  if found 'NoSuchBucket\|AccessDenied' aws s3api get-bucket-location --bucket "$BUCKET" --expected-bucket-owner "$ACCOUNT" \
    --query LocationConstraint --output text; then
    [[ $FOUND != None ]] || FOUND=us-east-1
    [[ $FOUND == "$REGION" ]] || fail "bucket $BUCKET is in $FOUND, not in $REGION: tell the platform, or choose another name"
    ok "bucket $BUCKET"
  elif [[ $ERROR == *AccessDenied* ]]; then
    fail "bucket $BUCKET is not yours, or you may not look at it: bucket names are unique across all AWS accounts"
  else
    change "bucket $BUCKET" aws s3api create-bucket --bucket "$BUCKET" --object-ownership BucketOwnerPreferred
  fi
}

ownership() {
  local rule="" query='OwnershipControls.Rules[0].ObjectOwnership'
  found 'NoSuchBucket\|OwnershipControlsNotFoundError' \
    aws s3api get-bucket-ownership-controls --bucket "$BUCKET" --query "$query" --output text && rule=$FOUND
  case $rule in
    BucketOwnerPreferred | BucketOwnerEnforced) ok "Object Ownership $rule" ;;
    *) change "Object Ownership BucketOwnerPreferred" aws s3api put-bucket-ownership-controls --bucket "$BUCKET" \
      --ownership-controls 'Rules=[{ObjectOwnership=BucketOwnerPreferred}]' ;;
  esac
}

lifecycle() {
  # How many rules there are beside the two, and whether the two are as they should be.
  local query="[length(Rules[?ID!='recordings-probe-objects' && ID!='recordings-unfinished-uploads']), sort_by(Rules, &ID) == \`$LIFECYCLE_RULES\`]"
  found 'NoSuchBucket\|NoSuchLifecycleConfiguration' \
    aws s3api get-bucket-lifecycle-configuration --bucket "$BUCKET" --query "$query" --output text || FOUND=0
  case $FOUND in
    0*True) ok "lifecycle rules" ;;
    0*) change "lifecycle rules" aws s3api put-bucket-lifecycle-configuration --bucket "$BUCKET" \
      --lifecycle-configuration file:///dev/stdin <<<"{\"Rules\": $LIFECYCLE_RULES}" ;;
    # Putting a configuration replaces the whole of it.
    *) yours "the bucket has lifecycle rules of yours; see that these are among them: $LIFECYCLE_RULES" ;;
  esac
}

# What there is of the role: ROLE_FOUND is its ARN, TRUST_FOUND its trust policy, ID_FOUND the External ID in that.
look_at_role() {
  local id='AssumeRolePolicyDocument.Statement[0].Condition.StringEquals."sts:ExternalId"'
  ROLE_FOUND="" ID_FOUND="" TRUST_FOUND=""
  if found NoSuchEntity aws iam get-role --role-name "$ROLE" --output text \
    --query "Role.[Arn, to_string($id), to_string(AssumeRolePolicyDocument)]"; then
    IFS=$'\t' read -r ROLE_FOUND ID_FOUND TRUST_FOUND <<<"$FOUND"
    [[ $ROLE_FOUND == "$ROLE_ARN" ]] || fail "role $ROLE is there with another path, as $ROLE_FOUND: tell the platform, or delete it"
  fi
}

take_external_id() {
  EXTERNAL_ID=${EXTERNAL_ID:-}
  # null: the role asks for none. A list: it is between two, and which one to keep is yours to say.
  [[ -n $EXTERNAL_ID || $ID_FOUND == null || $ID_FOUND == "["* ]] || EXTERNAL_ID=$ID_FOUND
  if [[ -z $EXTERNAL_ID && $DRY_RUN ]]; then
    EXTERNAL_ID=$PLACEHOLDER
    return
  fi
  if [[ -z $EXTERNAL_ID ]]; then
    [[ -t 0 ]] || fail "set EXTERNAL_ID: a value that you choose and tell nobody but the platform, such as the output of uuidgen"
    read -r -s -p "External ID, which you choose, such as the output of uuidgen (not shown): " EXTERNAL_ID
    echo
  fi
  [[ $EXTERNAL_ID == ??* && -z ${EXTERNAL_ID:1224} && $EXTERNAL_ID != *[!A-Za-z0-9_+=,.@:/-]* ]] ||
    fail "EXTERNAL_ID must have 2 to 1224 characters: letters, digits and _ + = , . @ : / -"
}

role() {
  local wanted=${TRUST//$PLACEHOLDER/$EXTERNAL_ID}
  if [[ -z $ROLE_FOUND ]]; then
    change "role $ROLE" aws iam create-role --role-name "$ROLE" --path "/" \
      --assume-role-policy-document file:///dev/stdin <<<"$wanted"
  elif same "$TRUST_FOUND" "$wanted"; then
    ok "role $ROLE, its trust in the platform and its External ID"
  else
    change "trust of role $ROLE" aws iam update-assume-role-policy --role-name "$ROLE" \
      --policy-document file:///dev/stdin <<<"$wanted"
  fi
}

permissions() {
  local get=(aws iam get-role-policy --role-name "$ROLE" --policy-name recordings)
  if found NoSuchEntity "${get[@]}" --query PolicyDocument --output json && same "$FOUND" "$PERMISSIONS"; then
    ok "permissions of role $ROLE"
  else
    change "permissions of role $ROLE" aws iam put-role-policy --role-name "$ROLE" --policy-name recordings \
      --policy-document file:///dev/stdin <<<"$PERMISSIONS"
  fi
}

bucket_policy() {
  local put=(aws s3api put-bucket-policy --bucket "$BUCKET" --policy file:///dev/stdin)
  if ! found 'NoSuchBucket\|NoSuchBucketPolicy' aws s3api get-bucket-policy --bucket "$BUCKET" --query Policy --output text; then
    change "bucket policy" "${put[@]}" <<<"$BUCKET_POLICY"
  elif [[ $FOUND == *OnlyTheRecordingWriterUsesObjects* ]]; then
    ok "bucket policy"
  else
    yours "the bucket has a policy of yours; add the statement of this one to it: $BUCKET_POLICY"
  fi
}

revoke() {
  local now older
  if [[ -z $ROLE_FOUND ]]; then
    ok "there is no role $ROLE"
    return
  fi
  change "no trust in anybody: no new sessions of $ROLE" aws iam update-assume-role-policy --role-name "$ROLE" \
    --policy-document file:///dev/stdin <<<"$NO_TRUST"
  now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  older=${NO_OLDER_SESSIONS//"<now>"/$now}
  change "no use of sessions issued before $now" aws iam put-role-policy --role-name "$ROLE" \
    --policy-name AWSRevokeOlderSessions --policy-document file:///dev/stdin <<<"$older"
  [[ $DRY_RUN ]] || echo "Run it once more in a minute: AWS takes a while to spread the first change, and a session may have been issued meanwhile."
}

send_back() {
  [[ -z $DRY_RUN ]] || return 0
  cat <<END

Send back these three values:
  bucket       $BUCKET, in $REGION
  role ARN     $ROLE_ARN
  External ID  the one you chose, over a channel that nobody else reads
END
}

# found ABSENT COMMAND…: true with the command's output in FOUND; false where its error matches ABSENT, which is then in
# ERROR; any other error ends it all.
found() {
  local absent=$1
  shift
  if FOUND=$("$@" 2>"$ERRORS"); then return 0; fi
  ERROR=$(cat "$ERRORS")
  grep -q "$absent" "$ERRORS" || fail "$ERROR"
  return 1
}

# change WHAT COMMAND…: does it, with the rest of the standard input; or says that it would.
change() {
  local what=$1
  shift
  if [[ $DRY_RUN ]]; then
    echo "would    $what"
  else
    "$@" >/dev/null
    echo "done     $what"
  fi
}

ok() { echo "ok       $1"; }
yours() { echo "for you  $1"; }
fail() { echo "setup.sh: $1" >&2; exit 1; }
same() { [[ $(tr -d '[:space:]' <<<"$1") == "$(tr -d '[:space:]' <<<"$2")" ]]; }

ERRORS=$(mktemp)
trap 'rm -f "$ERRORS"' EXIT
main
