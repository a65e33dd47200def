package main

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

type object struct {
	content
	etag       string
	modified   time.Time
	fullObject bool // whether S3 would name a CRC64NVME of the whole
}

type upload struct {
	key        string
	fullObject bool
	parts      map[int]content
}

// When a key was first asked to be put, and how the last answer about it was.
type history struct {
	FirstByte int64 `json:"firstByte"` // nanoseconds since 1970
	Unproven  bool  `json:"unproven"`  // the last granted answer proved nothing, and nobody has asked since
}

type sink struct {
	thorough bool
	rate     requestRate
	received atomic.Int64 // bytes of bodies, whether they were kept or not

	mutex    sync.Mutex
	objects  map[string]object
	uploads  map[string]*upload
	requests map[string]int
	history  map[string]*history
	faults   map[string]*fault
	next     int
	document map[string]any // what the broker says, see broker.go
}

func newSink(thorough bool) *sink {
	s := &sink{thorough: thorough}
	s.reset()
	return s
}

func (s *sink) reset() {
	s.received.Store(0)
	s.rate.set(0)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.objects, s.uploads, s.requests = map[string]object{}, map[string]*upload{}, map[string]int{}
	s.history, s.faults = map[string]*history{}, map[string]*fault{}
}

func (s *sink) s3(w http.ResponseWriter, r *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	began := time.Now()
	operation := operation(r.Method, key, query)
	s.mutex.Lock()
	s.requests[operation]++
	seen := s.history[key]
	if seen == nil {
		seen = &history{}
		s.history[key] = seen
	}
	if seen.FirstByte == 0 && operation != "HeadObject" {
		seen.FirstByte = began.UnixNano()
	}
	strike := s.strike(key, operation)
	s.mutex.Unlock()
	if s.rate.exceeded() {
		drain(r)
		refuse(w, &refusal{503, "SlowDown", "Please reduce your request rate."})
		return
	}
	var err error
	switch operation {
	case "PutObject", "UploadPart":
		err = s.put(w, r, key, strike, seen)
	case "CompleteMultipartUpload":
		err = s.complete(w, r, key, strike, seen)
	case "CreateMultipartUpload":
		s.create(w, r, bucket, key)
	case "AbortMultipartUpload":
		s.mutex.Lock()
		delete(s.uploads, query.Get("uploadId"))
		s.mutex.Unlock()
		w.WriteHeader(204)
	case "HeadObject":
		s.head(w, key, seen)
	case "ListObjects":
		s.list(w, query.Get("prefix"))
	case "ListParts":
		s.listParts(w, query.Get("uploadId"))
	case "Bucket":
		w.WriteHeader(200)
	default:
		err = &refusal{501, "NotImplemented", operation}
	}
	var refused *refusal
	if errors.As(err, &refused) {
		refuse(w, refused)
	}
}

func operation(method, key string, query map[string][]string) string {
	has := func(name string) bool { _, ok := query[name]; return ok }
	switch {
	case key == "" && method == "GET" && !has("location"):
		return "ListObjects"
	case key == "":
		return "Bucket"
	case method == "PUT" && has("partNumber"):
		return "UploadPart"
	case method == "PUT":
		return "PutObject"
	case method == "POST" && has("uploads"):
		return "CreateMultipartUpload"
	case method == "POST" && has("uploadId"):
		return "CompleteMultipartUpload"
	case method == "DELETE" && has("uploadId"):
		return "AbortMultipartUpload"
	case method == "GET" && has("uploadId"):
		return "ListParts"
	case method == "HEAD":
		return "HeadObject"
	}
	return method + " of a key"
}

func (s *sink) put(w http.ResponseWriter, r *http.Request, key string, strike kind, seen *history) error {
	if refused := strike.before(w, r); refused != nil {
		return refused
	}
	got, err := s.receive(r, strike.damage(r.ContentLength))
	if err != nil {
		return err
	}
	query := r.URL.Query()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	etag := got.etag()
	if upload := query.Get("uploadId"); upload != "" {
		number, err := strconv.Atoi(query.Get("partNumber"))
		into := s.uploads[upload]
		if into == nil || err != nil || number < 1 || number > 10_000 {
			return &refusal{404, "NoSuchUpload", "no such upload"}
		}
		if strike.keeps() {
			into.parts[number] = got
		}
	} else {
		if err := s.free(r, key); err != nil {
			return err
		}
		if strike.keeps() {
			s.objects[key] = object{got, etag, time.Now(), true}
		}
		seen.Unproven = strike.provesNothing()
	}
	if strike.answers(w, etag) {
		return nil
	}
	if r.Header.Get("x-amz-checksum-crc64nvme") != "" || r.Header.Get("x-amz-trailer") == "x-amz-checksum-crc64nvme" {
		w.Header().Set("x-amz-checksum-crc64nvme", got.crc64Text())
		w.Header().Set("x-amz-checksum-type", "FULL_OBJECT")
	}
	w.Header().Set("ETag", etag)
	w.WriteHeader(200)
	return nil
}

// If-None-Match: *
func (s *sink) free(r *http.Request, key string) error {
	if _, taken := s.objects[key]; taken && r.Header.Get("if-none-match") == "*" {
		return &refusal{412, "PreconditionFailed", "the key exists"}
	}
	return nil
}

func (s *sink) create(w http.ResponseWriter, r *http.Request, bucket, key string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.next++
	id := fmt.Sprintf("upload-%d", s.next)
	algorithm := r.Header.Get("x-amz-checksum-algorithm")
	s.uploads[id] = &upload{key, algorithm == "" || algorithm == "CRC64NVME", map[int]content{}}
	w.Header().Set("x-amz-checksum-algorithm", algorithm)
	answer(w, struct {
		XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
		Bucket   string
		Key      string
		UploadId string
	}{Bucket: bucket, Key: key, UploadId: id})
}

func (s *sink) complete(w http.ResponseWriter, r *http.Request, key string, strike kind, seen *history) error {
	if refused := strike.before(w, r); refused != nil {
		return refused
	}
	var asked struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.NewDecoder(r.Body).Decode(&asked); err != nil || len(asked.Part) == 0 {
		return &refusal{400, "MalformedXML", "not a list of parts"}
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	id := r.URL.Query().Get("uploadId")
	parts := s.uploads[id]
	if parts == nil || parts.key != key {
		return &refusal{404, "NoSuchUpload", "no such upload"}
	}
	if err := s.free(r, key); err != nil {
		return err
	}
	var whole content
	var etags []byte
	last := 0
	for _, part := range asked.Part {
		got, ok := parts.parts[part.PartNumber]
		if !ok || part.PartNumber <= last || strings.Trim(part.ETag, `"`) != strings.Trim(got.etag(), `"`) {
			return &refusal{400, "InvalidPart", fmt.Sprintf("part %d", part.PartNumber)}
		}
		last = part.PartNumber
		whole.crc64 = combine(whole.crc64, got.crc64, got.size)
		whole.size += got.size
		digest, _ := hex.DecodeString(strings.Trim(got.etag(), `"`))
		etags = append(etags, digest...)
	}
	if theirs := r.Header.Get("x-amz-checksum-crc64nvme"); theirs != "" && theirs != whole.crc64Text() {
		return &refusal{400, "BadDigest", fmt.Sprintf("the object's CRC64NVME is %s, not %s", whole.crc64Text(), theirs)}
	}
	sum := md5.Sum(etags)
	etag := fmt.Sprintf(`"%x-%d"`, sum, len(asked.Part))
	if strike.keeps() {
		s.objects[key] = object{whole, etag, time.Now(), parts.fullObject}
		delete(s.uploads, id)
	}
	seen.Unproven = strike.provesNothing()
	if strike.answers(w, etag) {
		return nil
	}
	result := struct {
		XMLName           xml.Name `xml:"CompleteMultipartUploadResult"`
		Key               string
		ETag              string
		ChecksumCRC64NVME string `xml:",omitempty"`
		ChecksumType      string `xml:",omitempty"`
	}{Key: key, ETag: etag}
	if parts.fullObject {
		result.ChecksumCRC64NVME, result.ChecksumType = whole.crc64Text(), "FULL_OBJECT"
	}
	answer(w, result)
	return nil
}

func (s *sink) head(w http.ResponseWriter, key string, seen *history) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	seen.Unproven = false
	held, ok := s.objects[key]
	if !ok {
		w.WriteHeader(404)
		return
	}
	w.Header().Set("ETag", held.etag)
	w.Header().Set("Content-Length", strconv.FormatInt(held.size, 10))
	w.Header().Set("Last-Modified", held.modified.UTC().Format(http.TimeFormat))
	if held.fullObject {
		w.Header().Set("x-amz-checksum-crc64nvme", held.crc64Text())
		w.Header().Set("x-amz-checksum-type", "FULL_OBJECT")
	}
	w.WriteHeader(200)
}

func (s *sink) list(w http.ResponseWriter, prefix string) {
	type entry struct {
		Key          string
		LastModified string
		ETag         string
		Size         int64
		StorageClass string
	}
	result := struct {
		XMLName     xml.Name `xml:"ListBucketResult"`
		IsTruncated bool
		Contents    []entry
	}{}
	s.mutex.Lock()
	for key, held := range s.objects {
		if strings.HasPrefix(key, prefix) {
			modified := held.modified.UTC().Format("2006-01-02T15:04:05.000Z")
			result.Contents = append(result.Contents, entry{key, modified, held.etag, held.size, "STANDARD"})
		}
	}
	s.mutex.Unlock()
	sort.Slice(result.Contents, func(i, j int) bool { return result.Contents[i].Key < result.Contents[j].Key })
	answer(w, result)
}

func (s *sink) listParts(w http.ResponseWriter, id string) {
	type entry struct {
		PartNumber        int
		ETag              string
		Size              int64
		ChecksumCRC64NVME string
	}
	result := struct {
		XMLName     xml.Name `xml:"ListPartsResult"`
		UploadId    string
		IsTruncated bool
		Part        []entry
	}{UploadId: id}
	s.mutex.Lock()
	parts := s.uploads[id]
	if parts != nil {
		for number, got := range parts.parts {
			result.Part = append(result.Part, entry{number, got.etag(), got.size, got.crc64Text()})
		}
	}
	s.mutex.Unlock()
	if parts == nil {
		refuse(w, &refusal{404, "NoSuchUpload", "no such upload"})
		return
	}
	sort.Slice(result.Part, func(i, j int) bool { return result.Part[i].PartNumber < result.Part[j].PartNumber })
	answer(w, result)
}

// The MD5 where it was computed, else 32 digits made of the CRC: to those who compare nothing they are as good.
func (c content) etag() string {
	if c.md5 != nil {
		return fmt.Sprintf(`"%x"`, c.md5)
	}
	return fmt.Sprintf(`"%016x%016x"`, c.crc64, c.size)
}

func (c content) crc64Text() string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, c.crc64))
}

func answer(w http.ResponseWriter, document any) {
	text, err := xml.Marshal(document)
	must(err)
	w.Header().Set("Content-Type", "application/xml")
	w.Write(append([]byte(xml.Header), text...))
}

func refuse(w http.ResponseWriter, refused *refusal) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(refused.status)
	fmt.Fprintf(w, "%s<Error><Code>%s</Code><Message>%s</Message></Error>", xml.Header, refused.code, refused.message)
}

// For the bench itself: what there is, what it must do wrong, and a new beginning.
func (s *sink) control(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/-/reset":
		s.reset()
	case "/-/faults":
		var faults map[string]*fault
		if err := json.NewDecoder(r.Body).Decode(&faults); err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		for key, fault := range faults {
			if !fault.Kind.known() {
				http.Error(w, fmt.Sprintf("%s: no fault is called %q", key, fault.Kind), 400)
				return
			}
		}
		s.mutex.Lock()
		s.faults = faults
		s.mutex.Unlock()
	case "/-/rate":
		var perSecond float64
		if err := json.NewDecoder(r.Body).Decode(&perSecond); err != nil || perSecond < 0 {
			http.Error(w, "not a number of requests a second", 400)
			return
		}
		s.rate.set(perSecond)
	case "/-/destination":
		body, err := io.ReadAll(r.Body)
		must(err)
		s.mutex.Lock()
		must(json.Unmarshal(body, &s.document))
		s.mutex.Unlock()
	case "/-/received":
		fmt.Fprint(w, s.received.Load())
	case "/-/stats":
		s.mutex.Lock()
		defer s.mutex.Unlock()
		objects := map[string]map[string]any{}
		for key, held := range s.objects {
			objects[key] = map[string]any{"size": held.size, "crc64nvme": held.crc64Text()}
		}
		w.Header().Set("Content-Type", "application/json")
		must(json.NewEncoder(w).Encode(map[string]any{
			"received": s.received.Load(), "requests": s.requests, "objects": objects, "history": s.history,
			"slowDowns": s.rate.refused(),
		}))
	default:
		http.NotFound(w, r)
	}
}
