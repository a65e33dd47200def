"""boto3, with whatever credentials it finds by itself: BUCKET KEY puts an object."""

import sys

import boto3

boto3.client("s3").put_object(Bucket=sys.argv[1], Key=sys.argv[2], Body=b"put by boto3\n")
