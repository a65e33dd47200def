package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"strings"
)

const audience = "recordings.revenue.io"

// A pod of a destination: the name says which. Namespaces have ten destinations each, as dev/bench/scale_report.py has it.
type pod struct {
	destination, number, perNamespace int
}

func (p pod) namespace() string { return fmt.Sprintf("scale-%05d", p.destination/p.perNamespace) }

func (p pod) name() string { return fmt.Sprintf("recorder-%06d-%05d", p.destination, p.number) }

// An address of its own, as a pod has it.
func (p pod) address() net.IP {
	number := p.destination*7 + p.number
	return net.IPv4(127, byte(16+number>>16&0x3f), byte(number>>8), byte(number))
}

type claims struct {
	Audience   []string `json:"aud"`
	Expiry     int64    `json:"exp"`
	Issuer     string   `json:"iss"`
	Subject    string   `json:"sub"`
	Filler     string   `json:"jti"`
	Kubernetes struct {
		Pod struct {
			Name string `json:"name"`
			UID  string `json:"uid"`
		} `json:"pod"`
	} `json:"kubernetes.io"`
}

var (
	encoding = base64.RawURLEncoding
	header   = encoding.EncodeToString([]byte(`{"alg":"RS256","kid":"bench"}`))
	signed   = encoding.EncodeToString(bytes.Repeat([]byte{'s'}, 256))
)

// A token of about the size that the API server's have. Other text in place of the signature makes it a forged one.
func (p pod) token(signature string) string {
	var c claims
	c.Audience, c.Expiry, c.Issuer = []string{audience}, 4_000_000_000, "https://kubernetes.default.svc.cluster.local"
	c.Subject = fmt.Sprintf("system:serviceaccount:%s:recorder", p.namespace())
	c.Filler = strings.Repeat("f", 200)
	c.Kubernetes.Pod.Name, c.Kubernetes.Pod.UID = p.name(), "uid-of-"+p.name()
	text, err := json.Marshal(c)
	must(err)
	return header + "." + encoding.EncodeToString(text) + "." + signature
}

func claimsOf(token string) (claims, bool) {
	var c claims
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[2] != signed {
		return c, false
	}
	text, err := encoding.DecodeString(parts[1])
	return c, err == nil && json.Unmarshal(text, &c) == nil
}

// The pod of that name, of some 8 KiB.
func podOf(namespace, name string) fields {
	var destination, number int
	fmt.Sscanf(name, "recorder-%06d-%05d", &destination, &number)
	return fields{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": fields{
			"namespace": namespace, "name": name, "uid": "uid-of-" + name,
			"labels": fields{"recordings.revenue.io/inject": "true"},
			"annotations": fields{
				"recordings.revenue.io/destination": fmt.Sprintf("destination-%06d", destination),
				"filler":                            strings.Repeat("f", 7000),
			},
		},
		"spec": fields{
			"serviceAccountName": "recorder", "containers": []fields{{"name": "recorder"}},
			"initContainers": []fields{{"name": "recording-uploader", "restartPolicy": "Always", "command": []string{"/recording-uploader"}}},
		},
		"status": fields{"phase": "Running"},
	}
}

// The External ID that a role accepts, by the name of its Secret.
func externalID(secret string) string { return "id-of-" + secret }

// The Secret's name, of a role's ARN.
func secretOf(role string) string {
	return "destination-" + role[strings.LastIndex(role, "-")+1:]
}
