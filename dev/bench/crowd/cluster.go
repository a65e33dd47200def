package main

import (
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"sync"
	"time"
)

const group = "recordings.revenue.io/v1alpha1"

// Changes that are kept for watches that come back.
const history = 50_000

// A destination. The bench says what spec and status it has.
type object struct {
	Namespace string          `json:"namespace"`
	Name      string          `json:"name"`
	Spec      json.RawMessage `json:"spec"`
	Status    json.RawMessage `json:"status,omitempty"`

	generation, version int64
	// As it is sent.
	text []byte
	// When the last change was made that a poll is to be told of.
	changed time.Time
}

type event struct {
	version int64
	kind    string
	text    []byte
}

// The objects of one cluster: destinations, and what is made from their names.
type cluster struct {
	mutex        sync.Mutex
	version      int64
	destinations map[string]*object
	order        []*object
	events       []event
	// Closed at each change, and then replaced.
	more   chan struct{}
	counts map[string]int
}

func newCluster() *cluster {
	return &cluster{version: 1, destinations: map[string]*object{}, more: make(chan struct{}), counts: map[string]int{}}
}

func (c *cluster) add(all []*object) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, added := range all {
		added.generation = 1
		c.destinations[added.Namespace+"/"+added.Name] = added
		c.order = append(c.order, added)
		c.note("ADDED", added)
	}
}

// Forgets everything. No process may be watching.
func (c *cluster) clear() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.destinations, c.order, c.events = map[string]*object{}, nil, nil
	c.version++
}

// Gives the object a new version and tells watches. The mutex is held.
func (c *cluster) note(kind string, changed *object) {
	c.version++
	changed.version = c.version
	document := map[string]any{
		"apiVersion": group, "kind": "RecordingDestination",
		"metadata": map[string]any{
			"namespace": changed.Namespace, "name": changed.Name, "uid": "uid-of-" + changed.Name,
			"resourceVersion": strconv.FormatInt(changed.version, 10), "generation": changed.generation,
			"creationTimestamp": "2026-01-01T00:00:00Z",
		},
		"spec": changed.Spec,
	}
	if changed.Status != nil {
		document["status"] = changed.Status
	}
	text, err := json.Marshal(document)
	must(err)
	changed.text = text
	c.events = append(c.events, event{c.version, kind, text})
	if len(c.events) > 2*history {
		c.events = append([]event(nil), c.events[history:]...)
	}
	close(c.more)
	c.more = make(chan struct{})
}

// The changes after a version, and what is closed at the next. False where they are no longer known.
func (c *cluster) after(version int64) ([]event, chan struct{}, bool) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	first := sort.Search(len(c.events), func(i int) bool { return c.events[i].version > version })
	known := first > 0 || len(c.events) == 0 || version+1 >= c.events[0].version
	return c.events[first:], c.more, known
}

// All destinations as they are sent, and the version that this is.
func (c *cluster) listed() ([][]byte, int64) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	texts := make([][]byte, len(c.order))
	for i, object := range c.order {
		texts[i] = object.text
	}
	return texts, c.version
}

func (c *cluster) find(namespace, name string) (json.RawMessage, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	found := c.destinations[namespace+"/"+name]
	if found == nil {
		return nil, fmt.Errorf("there is no %s/%s", namespace, name)
	}
	return found.text, nil
}

// Edits the spec as kubectl would.
func (c *cluster) suspend(namespace, name string) (int64, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	found := c.destinations[namespace+"/"+name]
	if found == nil {
		return 0, fmt.Errorf("there is no %s/%s", namespace, name)
	}
	found.set("suspend", true)
	found.generation++
	c.note("MODIFIED", found)
	return found.generation, nil
}

func (o *object) set(field string, value any) {
	spec := map[string]any{}
	must(json.Unmarshal(o.Spec, &spec))
	spec[field] = value
	text, err := json.Marshal(spec)
	must(err)
	o.Spec = text
}

type changes struct {
	PerSecond float64 `json:"perSecond"`
	Count     int     `json:"count"`
	// Of so many destinations, one after the other.
	Of int `json:"of"`
}

// Changes prefixes at a steady rate. The generation stays, so that the status stays true: what a pod is told changes once.
func (c *cluster) change(asked changes) int {
	begin := time.Now()
	for number := range asked.Count {
		due := begin.Add(time.Duration(float64(number) / asked.PerSecond * float64(time.Second)))
		time.Sleep(time.Until(due))
		c.mutex.Lock()
		changed := c.order[number*7919%min(asked.Of, len(c.order))]
		changed.set("prefix", fmt.Sprintf("calls-%d/", time.Now().UnixNano()))
		changed.changed = time.Now()
		c.note("MODIFIED", changed)
		c.mutex.Unlock()
	}
	return asked.Count
}

func (c *cluster) changedAt(number int) time.Time {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.order[number].changed
}

func (c *cluster) counted() map[string]int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	counts := map[string]int{}
	for kind, count := range c.counts {
		counts[kind] = count
	}
	return counts
}

func (c *cluster) count(kind string) {
	c.mutex.Lock()
	c.counts[kind]++
	c.mutex.Unlock()
}
