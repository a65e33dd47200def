package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Rounds of requests at a steady rate. In each round every phase has its time, one after the other.
type load struct {
	Rounds  int     `json:"rounds"`
	Seconds float64 `json:"seconds"`
	Phases  []phase `json:"phases"`
}

type phase struct {
	Name    string   `json:"name"`
	Streams []stream `json:"streams"`
}

type stream struct {
	Name         string  `json:"name"` // of those that are measured
	Kind         string  `json:"kind"`
	Address      string  `json:"address"`
	PerSecond    float64 `json:"perSecond"`
	Connections  int     `json:"connections"`
	First        int     `json:"first"`  // destination of the first connection's pod
	Spread       int     `json:"spread"` // destinations that the connections' pods are of
	Pad          int     `json:"pad"`    // bytes more in each review
	PerNamespace int     `json:"perNamespace"`
}

// One caller of a stream.
type caller struct {
	stream     stream
	pod        pod
	request    []byte
	connection *connection
}

type outcome struct {
	Microseconds []int64        `json:"microseconds"`
	Results      map[string]int `json:"results"`
}

func (c *crowd) load(asked load) (any, error) {
	outcomes, callers := map[string]*outcome{}, map[string][]*caller{}
	for _, phase := range asked.Phases {
		for _, stream := range phase.Streams {
			made, err := stream.callers()
			if err != nil {
				return nil, err
			}
			key := phase.Name + "/" + stream.Name
			outcomes[key], callers[key] = &outcome{Results: map[string]int{}}, made
		}
	}
	// The first round warms connections and caches up, and is not counted.
	for round := range asked.Rounds + 1 {
		for _, phase := range asked.Phases {
			var done sync.WaitGroup
			for _, stream := range phase.Streams {
				key := phase.Name + "/" + stream.Name
				into := outcomes[key]
				if round == 0 {
					into = &outcome{Results: map[string]int{}}
				}
				done.Go(func() { c.run(callers[key], stream, asked.Seconds, into) })
			}
			done.Wait()
			time.Sleep(200 * time.Millisecond)
		}
	}
	for _, made := range callers {
		for _, caller := range made {
			caller.close()
		}
	}
	return outcomes, nil
}

func (s stream) callers() ([]*caller, error) {
	var all []*caller
	for number := range s.Connections {
		spread := max(s.Spread, 1)
		of := pod{s.First + number%spread, number / spread, s.PerNamespace}
		request, err := s.request(of)
		if err != nil {
			return nil, err
		}
		all = append(all, &caller{stream: s, pod: of, request: request})
	}
	return all, nil
}

func (s stream) request(of pod) ([]byte, error) {
	switch s.Kind {
	case "healthz":
		return requestOf("GET", "/healthz", "", "", nil), nil
	case "credentials":
		return requestOf("GET", "/v1/credentials", of.token(signed), "", nil), nil
	case "review", "healthz-review":
		body := reviewOf(of, s.Pad)
		if s.Kind == "review" {
			return requestOf("POST", reviewPath, "", "", body), nil
		}
		return requestOf("POST", "/healthz", "", "", body), nil
	case "forged":
		return nil, nil
	case "stranger":
		return requestOf("POST", "/inject/fedcba9876543210fedcba9876543210", "", "", reviewOf(of, s.Pad)), nil
	}
	return nil, fmt.Errorf("no stream is called %q", s.Kind)
}

// Each caller sends its share at times that are known before. A request that waits for the one before it counts from the
// time at which it was to be sent.
func (c *crowd) run(callers []*caller, stream stream, seconds float64, into *outcome) {
	var mutex sync.Mutex
	var done sync.WaitGroup
	begin := time.Now()
	interval := time.Duration(float64(len(callers)) / stream.PerSecond * float64(time.Second))
	for number, caller := range callers {
		done.Go(func() {
			due := begin.Add(interval * time.Duration(number) / time.Duration(len(callers)))
			for due.Before(begin.Add(time.Duration(seconds * float64(time.Second)))) {
				from := due
				if wait := time.Until(due); wait > 0 {
					time.Sleep(wait)
					from = time.Now()
				}
				result := caller.ask(c)
				took := time.Since(from)
				mutex.Lock()
				into.Microseconds = append(into.Microseconds, took.Microseconds())
				into.Results[result]++
				mutex.Unlock()
				due = due.Add(interval)
			}
		})
	}
	done.Wait()
}

func (c *caller) ask(crowd *crowd) string {
	request, from := c.request, c.pod.address()
	switch c.stream.Kind {
	case "forged":
		signature := make([]byte, 256)
		rand.Read(signature)
		request = requestOf("GET", "/v1/credentials", c.pod.token(encoding.EncodeToString(signature)), "", nil)
	case "review", "healthz-review":
		// The API server has one address.
		from = net.IPv4(127, 0, 0, 1)
	}
	if c.connection == nil {
		connection, err := crowd.connect(from, c.stream.Address)
		if err != nil {
			return "no connection"
		}
		c.connection = connection
	}
	status, _, err := c.connection.ask(request)
	if err != nil {
		c.close()
		return "cut off"
	}
	// Strangers keep no connection.
	if c.stream.Kind == "forged" || c.stream.Kind == "stranger" {
		c.close()
	}
	return fmt.Sprint(status)
}

func (c *caller) close() {
	if c.connection != nil {
		c.connection.stream.Close()
		c.connection = nil
	}
}

// A review of a pod as users write it, with padding in an annotation.
func reviewOf(of pod, pad int) []byte {
	object := fields{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": fields{
			"generateName": "recorder-", "namespace": of.namespace(),
			"labels":      fields{"recordings.revenue.io/inject": "true", "app": "recorder"},
			"annotations": fields{"recordings.revenue.io/destination": fmt.Sprintf("destination-%06d", of.destination), "note": strings.Repeat("n", pad)},
		},
		"spec": fields{
			"serviceAccountName": "recorder",
			"securityContext":    fields{"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
			"containers": []fields{{
				"name": "recorder", "image": "registry.example/recorder:1", "resources": fields{},
				"volumeMounts": []fields{{"name": "recordings", "mountPath": "/recordings"}},
			}},
			"volumes": []fields{{"name": "recordings", "emptyDir": fields{}}},
		},
		"status": fields{},
	}
	text, err := json.Marshal(fields{
		"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
		"request": fields{
			"uid":       "0c9a8d74-9cb7-44dd-b98e-09fd62def2f4",
			"kind":      fields{"group": "", "version": "v1", "kind": "Pod"},
			"resource":  fields{"group": "", "version": "v1", "resource": "pods"},
			"namespace": of.namespace(), "operation": "CREATE", "userInfo": fields{"username": "somebody"},
			"object": object, "oldObject": nil, "dryRun": false,
		},
	})
	must(err)
	return text
}
