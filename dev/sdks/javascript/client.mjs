// The AWS SDK for JavaScript, with whatever credentials it finds by itself: BUCKET KEY puts an object.
import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";

const [Bucket, Key] = process.argv.slice(2);
await new S3Client({ forcePathStyle: true }).send(new PutObjectCommand({ Bucket, Key, Body: "put by JavaScript\n" }));
