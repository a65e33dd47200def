package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const platformARN = "arn:aws:iam::103850359708:user/RingDNA_Web"

// STS and S3, as far as a validation and a session need them.
type aws struct {
	mutex   sync.Mutex
	objects map[string][]byte
	parts   map[string][]byte
	calls   []call
}

// A call of AssumeRole.
type call struct {
	At      float64 `json:"at"` // seconds since 1970
	Role    string  `json:"role"`
	IsGiven bool    `json:"isGiven"`
}

func newAWS() *aws {
	return &aws{objects: map[string][]byte{}, parts: map[string][]byte{}}
}

// The calls since the last time that this was asked.
func (a *aws) taken() []call {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	taken := a.calls
	a.calls = nil
	if taken == nil {
		taken = []call{}
	}
	return taken
}

func (a *aws) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/xml")
	if r.Method == "POST" && r.URL.Path == "/" {
		a.sts(w, r)
	} else {
		a.s3(w, r)
	}
}

func (a *aws) sts(w http.ResponseWriter, r *http.Request) {
	if r.ParseForm() != nil {
		return
	}
	if r.Form.Get("Action") == "GetCallerIdentity" {
		fmt.Fprintf(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>%s</Arn><UserId>AIDABENCH</UserId><Account>103850359708</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`, platformARN)
		return
	}
	role := r.Form.Get("RoleArn")
	isGiven := r.Form.Get("ExternalId") == externalID(secretOf(role))
	now := time.Now()
	a.mutex.Lock()
	a.calls = append(a.calls, call{float64(now.UnixNano()) / 1e9, role, isGiven})
	number := len(a.calls)
	a.mutex.Unlock()
	if !isGiven {
		w.WriteHeader(403)
		io.WriteString(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized to perform: sts:AssumeRole</Message></Error><RequestId>bench</RequestId></ErrorResponse>`)
		return
	}
	expiration := now.Add(time.Hour).UTC().Format(time.RFC3339)
	// A session token of 1.5 KiB, the largest that is usual.
	token := fmt.Sprintf("%08d", number) + strings.Repeat("t", 1536-8)
	fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><AssumedRoleUser><AssumedRoleId>AROABENCH:bench</AssumedRoleId><Arn>%s</Arn></AssumedRoleUser><Credentials><AccessKeyId>ASIABENCH%08d</AccessKeyId><SecretAccessKey>benchbenchbenchbenchbenchbenchbenchbench</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`, role, number, token, expiration)
}

func (a *aws) s3(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	path := r.URL.Path
	held, exists := a.objects[path]
	switch {
	case r.Method == "POST" && query.Has("uploads"):
		fmt.Fprintf(w, `<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>upload</UploadId></InitiateMultipartUploadResult>`)
	case r.Method == "POST" && query.Has("uploadId"):
		a.objects[path] = a.parts[path]
		delete(a.parts, path)
		fmt.Fprintf(w, `<CompleteMultipartUploadResult><Key>k</Key><ETag>"e"</ETag><ChecksumCRC64NVME>%s</ChecksumCRC64NVME><ChecksumType>FULL_OBJECT</ChecksumType></CompleteMultipartUploadResult>`, r.Header.Get("x-amz-checksum-crc64nvme"))
		a.objects[path+"#sum"] = []byte(r.Header.Get("x-amz-checksum-crc64nvme"))
	case r.Method == "PUT" && query.Has("partNumber"):
		a.parts[path] = body
		checksummed(w, r.Header.Get("x-amz-checksum-crc64nvme"))
	case r.Method == "PUT":
		if exists && r.Header.Get("If-None-Match") == "*" {
			refuseS3(w, 412, "PreconditionFailed")
			return
		}
		a.objects[path], a.objects[path+"#sum"] = body, []byte(r.Header.Get("x-amz-checksum-crc64nvme"))
		checksummed(w, r.Header.Get("x-amz-checksum-crc64nvme"))
	case r.Method == "HEAD" || r.Method == "GET":
		if !exists {
			refuseS3(w, 404, "NoSuchKey")
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(held)))
		checksummed(w, string(a.objects[path+"#sum"]))
		if r.Method == "GET" {
			w.Write(held)
		}
	case r.Method == "DELETE":
		delete(a.objects, path)
		delete(a.objects, path+"#sum")
		w.WriteHeader(204)
	default:
		refuseS3(w, 501, "NotImplemented")
	}
}

func checksummed(w http.ResponseWriter, sum string) {
	w.Header().Set("ETag", `"e"`)
	if sum != "" {
		w.Header().Set("x-amz-checksum-crc64nvme", sum)
		w.Header().Set("x-amz-checksum-type", "FULL_OBJECT")
	}
}

func refuseS3(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "%s<Error><Code>%s</Code><Message>%s</Message></Error>", xml.Header, code, code)
}
