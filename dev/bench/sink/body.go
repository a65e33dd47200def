package main

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync"

	"github.com/minio/crc64nvme"
)

// Small enough to stay in a core's cache from the socket to the checksum.
const bufferBytes = 256 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferBytes); return &b }}

// What arrived.
type content struct {
	size   int64
	crc64  uint64
	md5    []byte // only where it was needed
	sha256 []byte
}

// A refusal in S3's words.
type refusal struct {
	status        int
	code, message string
}

func (r *refusal) Error() string { return r.code }

// Reads a body to its end and holds it to every digest that came with it.
func (s *sink) receive(r *http.Request, damage damage) (content, error) {
	var got content
	body := io.Reader(r.Body)
	var chunks *chunked
	payload := r.Header.Get("x-amz-content-sha256")
	if strings.HasPrefix(payload, "STREAMING-") || strings.Contains(r.Header.Get("content-encoding"), "aws-chunked") {
		chunks = &chunked{lines: bufio.NewReaderSize(r.Body, bufferBytes)}
		body = chunks
	}
	announced := strings.ToLower(r.Header.Get("x-amz-trailer"))
	var crc uint32
	crcNeeded := r.Header.Get("x-amz-checksum-crc32") != "" || announced == "x-amz-checksum-crc32"
	var sums []hash.Hash
	var md5sum, shasum hash.Hash
	if r.Header.Get("content-md5") != "" || s.thorough {
		md5sum = md5.New()
		sums = append(sums, md5sum)
	}
	if s.thorough {
		shasum = sha256.New()
		sums = append(sums, shasum)
	}
	take := func(part []byte) {
		got.size += int64(len(part))
		got.crc64 = crc64nvme.Update(got.crc64, part)
		if crcNeeded {
			crc = crc32.Update(crc, crc32.IEEETable, part)
		}
		for _, sum := range sums {
			sum.Write(part)
		}
		s.received.Add(int64(len(part)))
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	for {
		n, err := body.Read(*buffer)
		if n > 0 {
			take(damage.apply((*buffer)[:n], got.size))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return got, &refusal{400, "IncompleteBody", "the body did not come to its end"}
		}
	}
	if md5sum != nil {
		got.md5 = md5sum.Sum(nil)
	}
	if shasum != nil {
		got.sha256 = shasum.Sum(nil)
	}
	sent := func(name string) string {
		if chunks != nil && chunks.trailer.Get(name) != "" {
			return chunks.trailer.Get(name)
		}
		return r.Header.Get(name)
	}
	if announced != "" && (chunks == nil || chunks.trailer.Get(announced) == "") {
		return got, &refusal{400, "MalformedTrailerError", "the trailer that was announced did not come"}
	}
	for name, ours := range map[string]string{
		"x-amz-checksum-crc64nvme": base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, got.crc64)),
		"x-amz-checksum-crc32":     base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc)),
		"content-md5":              base64.StdEncoding.EncodeToString(got.md5),
	} {
		if theirs := sent(name); theirs != "" && theirs != ours {
			return got, &refusal{400, "BadDigest", fmt.Sprintf("%s is %s, that of the body is %s", name, theirs, ours)}
		}
	}
	if len(payload) == 64 && got.sha256 != nil && payload != hex.EncodeToString(got.sha256) {
		return got, &refusal{400, "XAmzContentSHA256Mismatch", "the payload is not what was signed"}
	}
	if length := r.Header.Get("x-amz-decoded-content-length"); length != "" && !damage.cuts() {
		if wanted, err := strconv.ParseInt(length, 10, 64); err != nil || wanted != got.size {
			return got, &refusal{400, "IncompleteBody", "not the length that was announced"}
		}
	}
	return got, nil
}

// The body of aws-chunked: `size[;extension]` and the bytes, again and again, and a trailer after the chunk of size 0.
type chunked struct {
	lines   *bufio.Reader
	left    int64 // of the present chunk
	inside  bool
	ended   bool
	trailer textproto.MIMEHeader
}

func (c *chunked) Read(into []byte) (int, error) {
	for c.left == 0 {
		if c.ended {
			return 0, io.EOF
		}
		if c.inside {
			if _, err := c.line(); err != nil {
				return 0, err
			}
		}
		line, err := c.line()
		if err != nil {
			return 0, err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		if c.left, err = strconv.ParseInt(string(size), 16, 64); err != nil || c.left < 0 {
			return 0, errors.New("not a chunk")
		}
		c.inside = true
		if c.left == 0 {
			c.ended = true
			if c.trailer, err = textproto.NewReader(c.lines).ReadMIMEHeader(); err != nil && err != io.EOF {
				return 0, err
			}
			if c.trailer == nil {
				c.trailer = textproto.MIMEHeader{}
			}
		}
	}
	n, err := c.lines.Read(into[:min(int64(len(into)), c.left)])
	c.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (c *chunked) line() ([]byte, error) {
	line, err := c.lines.ReadSlice('\n')
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return bytes.TrimRight(line, "\r\n"), err
}
