"""Puts an object (BUCKET KEY) by boto3 with the credentials of its default chain."""

import sys

import boto3

boto3.client("s3").put_object(Bucket=sys.argv[1], Key=sys.argv[2], Body=b"put by boto3\n")
