package main

import (
	"net"
	"net/http"
	"time"
)

// What goes wrong with a key: so many times from its first put or, where it is about that, its first Complete.
type fault struct {
	Kind  kind `json:"kind"`
	Times int  `json:"times"`
}

type kind string

const (
	none kind = ""
	// The connection is reset when half of the body has come.
	reset kind = "reset"
	// All is done, and the connection closed before the answer.
	lostAnswer kind = "lost answer"
	// Nothing is done and nothing said for a while; then the connection is closed.
	hang kind = "hang"
	// Refusals, of which the last lasts until the client comes with another session.
	internalError kind = "500"
	slowDown      kind = "503"
	denied        kind = "403"
	expired       kind = "expired token"
	// A page of something on the way, under a 200.
	page kind = "page under 200"
	// An ETag as it should be, and nothing is kept.
	notKept kind = "200 and nothing kept"
	// All is kept, and the answer names another ETag and no checksum.
	wrongETag kind = "wrong ETag"
	// On the way to S3 a bit is turned over, or the second half lost: S3 sees it only by a digest that came along.
	flipped kind = "flipped bit"
	cut     kind = "cut short"
	// Complete: an error under a 200, or all done and the answer lost.
	completeError kind = "error in Complete's 200"
	completeLost  kind = "Complete's answer lost"
	// Nothing goes wrong: another object is there already.
	occupied kind = "another object there"
)

const hangTime = 3 * time.Second

var aboutComplete = map[kind]bool{completeError: true, completeLost: true}

func (k kind) known() bool {
	switch k {
	case reset, lostAnswer, hang, internalError, slowDown, denied, expired, page, notKept, wrongETag, flipped, cut,
		completeError, completeLost, occupied:
		return true
	}
	return false
}

// The fault that meets this request; the caller holds the mutex.
func (s *sink) strike(key, operation string) kind {
	fault := s.faults[key]
	if fault == nil {
		return none
	}
	if fault.Kind == occupied {
		return none
	}
	applies := operation == "PutObject" || operation == "UploadPart"
	if aboutComplete[fault.Kind] {
		applies = operation == "CompleteMultipartUpload"
	}
	if !applies || fault.Times == 0 {
		return none
	}
	fault.Times--
	return fault.Kind
}

// What happens instead of reading the body.
func (k kind) before(w http.ResponseWriter, r *http.Request) error {
	switch k {
	case reset:
		half := make([]byte, max(r.ContentLength/2, 1))
		for read := 0; read < len(half); {
			n, err := r.Body.Read(half[read:])
			read += n
			if err != nil {
				break
			}
		}
		hangUp(w)
		return errHungUp
	case hang:
		drain(r)
		time.Sleep(hangTime)
		hangUp(w)
		return errHungUp
	case internalError:
		drain(r)
		return &refusal{500, "InternalError", "We encountered an internal error. Please try again."}
	case slowDown:
		drain(r)
		return &refusal{503, "SlowDown", "Please reduce your request rate."}
	case denied:
		drain(r)
		return &refusal{403, "AccessDenied", "Access Denied"}
	case expired:
		drain(r)
		return &refusal{400, "ExpiredToken", "The provided token has expired."}
	}
	return nil
}

type hungUp struct{}

func (hungUp) Error() string { return "hung up" }

var errHungUp = hungUp{}

// Whether what came is kept.
func (k kind) keeps() bool { return k != page && k != notKept && k != completeError }

// Whether the client gets no 200, or one that does not name what was sent as what is kept.
func (k kind) provesNothing() bool {
	switch k {
	case page, wrongETag, lostAnswer, completeLost, completeError, flipped, cut:
		return true
	}
	return false
}

// Answers in its own way; false: as always.
func (k kind) answers(w http.ResponseWriter, etag string) bool {
	switch k {
	case lostAnswer, completeLost:
		hangUp(w)
	case page:
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte("<html><body>Please sign in to the network.</body></html>"))
	case notKept:
		w.Header().Set("ETag", etag)
		w.WriteHeader(200)
	case wrongETag:
		w.Header().Set("ETag", `"00000000000000000000000000000000"`)
		w.WriteHeader(200)
	case completeError:
		refuse(w, &refusal{200, "InternalError", "We encountered an internal error. Please try again."})
	default:
		return false
	}
	return true
}

func drain(r *http.Request) {
	buffer := make([]byte, bufferBytes)
	for {
		if _, err := r.Body.Read(buffer); err != nil {
			return
		}
	}
}

// Ends a connection with a reset.
func hangUp(w http.ResponseWriter) {
	connection, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := connection.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	connection.Close()
}

// Damage on the way to S3.
type damage struct {
	flips bool
	limit int64 // bytes that arrive; negative: all
}

func (k kind) damage(length int64) damage {
	switch k {
	case flipped:
		return damage{flips: true, limit: -1}
	case cut:
		return damage{limit: length / 2}
	}
	return damage{limit: -1}
}

func (d damage) cuts() bool { return d.limit >= 0 }

func (d damage) apply(part []byte, before int64) []byte {
	if d.cuts() {
		part = part[:max(0, min(int64(len(part)), d.limit-before))]
	}
	if d.flips && before == 0 && len(part) > 0 {
		part[len(part)/2] ^= 1
	}
	return part
}
