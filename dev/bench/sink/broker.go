package main

import (
	"encoding/json"
	"net/http"
	"time"
)

// What a sidecar asks of the operator's broker, for any token: its loop is measured, not the broker.
func (s *sink) broker(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/v1/destination":
		s.mutex.Lock()
		defer s.mutex.Unlock()
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") == `"1"` {
			w.WriteHeader(304)
			return
		}
		must(json.NewEncoder(w).Encode(s.document))
	case "/v1/credentials":
		must(json.NewEncoder(w).Encode(map[string]string{
			"AccessKeyId": "ASIABENCH", "SecretAccessKey": "bench", "Token": "bench",
			"Expiration": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
		}))
	default:
		w.WriteHeader(204)
	}
}
