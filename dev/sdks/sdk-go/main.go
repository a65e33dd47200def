// The AWS SDK for Go, with whatever credentials it finds by itself: go BUCKET KEY puts an object.
package main

import (
	"bytes"
	"context"
	"log"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func main() {
	ctx := context.Background()
	found, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	client := s3.NewFromConfig(found, func(options *s3.Options) { options.UsePathStyle = true })
	_, err = client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(os.Args[1]),
		Key:    aws.String(os.Args[2]),
		Body:   bytes.NewReader([]byte("put by Go\n")),
	})
	if err != nil {
		log.Fatal(err)
	}
}
