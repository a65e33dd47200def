package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The only path at which the webhook takes reviews.
const reviewPath = "/inject/0123456789abcdef0123456789abcdef"

type fields = map[string]any

func (c *cluster) serve(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	last := parts[len(parts)-1]
	w.Header().Set("Content-Type", "application/json")
	switch {
	case last == "tokenreviews":
		c.count("TokenReview")
		reviewToken(w, r)
	case last == "events":
		c.count("Event")
		w.WriteHeader(201)
		io.Copy(w, r.Body)
	case last == "recordingdestinations":
		c.destinationsAsked(w, r)
	case last == "namespaces":
		c.static(w, r, "v1", "Namespace", nil)
	case last == "mutatingwebhookconfigurations":
		c.static(w, r, "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", webhookConfiguration())
	case strings.Contains(r.URL.Path, "/mutatingwebhookconfigurations/"):
		send(w, webhookConfiguration())
	case len(parts) >= 6 && parts[4] == "secrets":
		c.count("Secret")
		send(w, fields{
			"apiVersion": "v1", "kind": "Secret", "type": "recordings.revenue.io/external-id",
			"metadata": fields{"namespace": parts[3], "name": last, "resourceVersion": "7"},
			"data":     fields{"externalID": base64.StdEncoding.EncodeToString([]byte(externalID(last)))},
		})
	case len(parts) >= 6 && parts[4] == "pods":
		c.count("Pod")
		send(w, podOf(parts[3], last))
	case len(parts) >= 7 && parts[5] == "recordingdestinations":
		c.destinationAsked(w, r, parts[4], parts[6], last == "status")
	default:
		refuse(w, 404, "NotFound")
	}
}

func (c *cluster) destinationAsked(w http.ResponseWriter, r *http.Request, namespace, name string, isStatus bool) {
	if r.Method == "PATCH" {
		if !isStatus {
			refuse(w, 405, "MethodNotAllowed")
			return
		}
		c.patchStatus(w, r, namespace, name)
		return
	}
	text, err := c.find(namespace, name)
	if err != nil {
		refuse(w, 404, "NotFound")
		return
	}
	w.Write(text)
}

// Takes a server-side apply of the controller, which has all of the status but what the broker writes.
func (c *cluster) patchStatus(w http.ResponseWriter, r *http.Request, namespace, name string) {
	var patch struct {
		Metadata struct{ ResourceVersion string }
		Status   json.RawMessage
	}
	if err := json.NewDecoder(r.Body).Decode(&patch); err != nil {
		refuse(w, 400, "BadRequest")
		return
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	found := c.destinations[namespace+"/"+name]
	if found == nil {
		refuse(w, 404, "NotFound")
		return
	}
	if patch.Metadata.ResourceVersion != strconv.FormatInt(found.version, 10) {
		refuse(w, 409, "Conflict")
		return
	}
	c.counts["status"]++
	found.Status = patch.Status
	c.note("MODIFIED", found)
	w.Write(found.text)
}

func (c *cluster) destinationsAsked(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Get("watch") == "" {
		texts, version := c.listed()
		list := fmt.Sprintf(`{"apiVersion":%q,"kind":"RecordingDestinationList","metadata":{"resourceVersion":"%d"},"items":[`, group, version)
		io.WriteString(w, list)
		for i, text := range texts {
			if i > 0 {
				io.WriteString(w, ",")
			}
			w.Write(text)
		}
		io.WriteString(w, "]}")
		return
	}
	version, _ := strconv.ParseInt(query.Get("resourceVersion"), 10, 64)
	if query.Get("sendInitialEvents") == "true" {
		var texts [][]byte
		texts, version = c.listed()
		for _, text := range texts {
			sendEvent(w, "ADDED", text)
		}
		sendBookmark(w, group, "RecordingDestination", version, true)
	}
	c.follow(w, r, version)
}

// Sends changes until the client's time is over, and a bookmark two seconds before, as the real server does.
func (c *cluster) follow(w http.ResponseWriter, r *http.Request, version int64) {
	seconds, _ := strconv.Atoi(r.URL.Query().Get("timeoutSeconds"))
	end := time.After(time.Duration(seconds) * time.Second)
	mark := time.After(time.Duration(max(seconds-2, 0)) * time.Second)
	for {
		events, more, known := c.after(version)
		if !known {
			sendEvent(w, "ERROR", []byte(`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","reason":"Expired","message":"too old","code":410}`))
			return
		}
		for _, event := range events {
			sendEvent(w, event.kind, event.text)
			version = event.version
		}
		w.(http.Flusher).Flush()
		select {
		case <-more:
		case <-mark:
			sendBookmark(w, group, "RecordingDestination", version, false)
		case <-end:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// A list or watch of one object at most, which never changes.
func (c *cluster) static(w http.ResponseWriter, r *http.Request, version, kind string, item fields) {
	query := r.URL.Query()
	if query.Get("watch") == "" {
		items := []fields{}
		if item != nil {
			items = append(items, item)
		}
		send(w, fields{"apiVersion": version, "kind": kind + "List", "metadata": fields{"resourceVersion": "1"}, "items": items})
		return
	}
	if query.Get("sendInitialEvents") == "true" {
		if item != nil {
			text, err := json.Marshal(item)
			must(err)
			sendEvent(w, "ADDED", text)
		}
		sendBookmark(w, version, kind, 1, true)
	}
	w.(http.Flusher).Flush()
	seconds, _ := strconv.Atoi(query.Get("timeoutSeconds"))
	select {
	case <-time.After(time.Duration(max(seconds-2, 0)) * time.Second):
		sendBookmark(w, version, kind, 1, false)
	case <-r.Context().Done():
	}
}

func webhookConfiguration() fields {
	return fields{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
		"metadata": fields{"name": "recording-operator", "resourceVersion": "1", "uid": "1"},
		"webhooks": []fields{{
			"name": "inject.recordings.revenue.io", "sideEffects": "None", "admissionReviewVersions": []string{"v1"},
			"clientConfig": fields{"service": fields{"namespace": "recording-operator", "name": "webhook", "path": reviewPath}},
		}},
	}
}

// Whether a token is signed by the cluster is in its last part.
func reviewToken(w http.ResponseWriter, r *http.Request) {
	var asked struct{ Spec struct{ Token string } }
	if json.NewDecoder(r.Body).Decode(&asked) != nil {
		refuse(w, 400, "BadRequest")
		return
	}
	w.WriteHeader(201)
	claims, ok := claimsOf(asked.Spec.Token)
	if !ok {
		send(w, fields{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": fields{}, "status": fields{"error": "invalid"}})
		return
	}
	send(w, fields{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": fields{},
		"status": fields{
			"authenticated": true, "audiences": []string{audience},
			"user": fields{"username": claims.Subject, "extra": fields{
				"authentication.kubernetes.io/pod-name": []string{claims.Kubernetes.Pod.Name},
				"authentication.kubernetes.io/pod-uid":  []string{claims.Kubernetes.Pod.UID},
			}},
		},
	})
}

// It fails when the client is gone.
func send(w http.ResponseWriter, document fields) { _ = json.NewEncoder(w).Encode(document) }

func sendEvent(w io.Writer, kind string, text []byte) {
	fmt.Fprintf(w, `{"type":%q,"object":%s}`+"\n", kind, text)
}

func sendBookmark(w http.ResponseWriter, version, kind string, at int64, isEndOfList bool) {
	metadata := fields{"resourceVersion": strconv.FormatInt(at, 10)}
	if isEndOfList {
		metadata["annotations"] = fields{"k8s.io/initial-events-end": "true"}
	}
	text, err := json.Marshal(fields{"apiVersion": version, "kind": kind, "metadata": metadata})
	must(err)
	sendEvent(w, "BOOKMARK", text)
	w.(http.Flusher).Flush()
}

func refuse(w http.ResponseWriter, code int, reason string) {
	w.WriteHeader(code)
	send(w, fields{"kind": "Status", "apiVersion": "v1", "metadata": fields{}, "status": "Failure", "reason": reason, "message": reason, "code": code})
}
