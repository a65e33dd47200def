# Lets the platform deliver call recordings into s3://{{ bucket }}/{{ prefix }}
#
#   terraform init
#   terraform apply        (asks for the External ID, or takes it from TF_VAR_external_id)
#
# For account {{ account }}. Where the bucket is there already, import it first:
#   terraform import aws_s3_bucket.recordings {{ bucket }}
# The External ID is in Terraform's state: keep that where few can read it.

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "external_id" {
  description = "A value that you choose and tell nobody but the platform, such as the output of uuidgen"
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^[A-Za-z0-9_+=,.@:/-]+$", var.external_id)) && length(var.external_id) >= 2 && length(var.external_id) <= 1224
    error_message = "external_id must have 2 to 1224 characters: letters, digits and _ + = , . @ : / -"
  }
}

variable "only_this_role" {
  description = "true for a bucket policy by which nobody but the role uses objects, you included"
  type        = bool
  default     = false
}

provider "aws" {
  region              = "{{ region }}"
  allowed_account_ids = ["{{ account }}"]
}

resource "aws_s3_bucket" "recordings" {
  bucket = "{{ bucket }}"

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_ownership_controls" "recordings" {
  bucket = aws_s3_bucket.recordings.id

  rule {
    object_ownership = "BucketOwnerPreferred"
  }
}

resource "aws_s3_bucket_public_access_block" "recordings" {
  bucket                  = aws_s3_bucket.recordings.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# These are all the rules of the bucket: add yours here.
resource "aws_s3_bucket_lifecycle_configuration" "recordings" {
  bucket = aws_s3_bucket.recordings.id

  rule {
    id     = "recordings-probe-objects"
    status = "Enabled"

    filter {
      prefix = "{{ probes }}"
    }

    expiration {
      days = 1
    }

    noncurrent_version_expiration {
      noncurrent_days = 1
    }
  }

  rule {
    id     = "recordings-unfinished-uploads"
    status = "Enabled"

    filter {
      prefix = "{{ prefix }}"
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

resource "aws_s3_bucket_policy" "recordings" {
  count  = var.only_this_role ? 1 : 0
  bucket = aws_s3_bucket.recordings.id
  policy = jsonencode({{ bucket_policy_hcl | indent(2) }})
}

resource "aws_iam_role" "recordings" {
  name = "{{ role_name }}"
  path = "{{ role_path }}"

  assume_role_policy = jsonencode({{ trust_hcl | replace('"' ~ placeholder ~ '"', "var.external_id") | indent(2) }})
}

resource "aws_iam_role_policy" "recordings" {
  name = "recordings"
  role = aws_iam_role.recordings.id
  policy = jsonencode({{ permissions_hcl | indent(2) }})
}

output "bucket" {
  description = "First of the three values to send back"
  value       = aws_s3_bucket.recordings.bucket
}

output "role_arn" {
  description = "Second of the three values to send back; the third is your External ID"
  value       = aws_iam_role.recordings.arn
}
