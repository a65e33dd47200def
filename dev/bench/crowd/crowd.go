package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// Callers of the operator: pods with a connection each, from an address each.
type crowd struct {
	trust *x509.CertPool
	gate  *gate

	mutex   sync.Mutex
	ended   chan struct{}
	delays  []float64
	results map[string]int
	open    atomic.Int64
	waiting atomic.Int64
}

func newCrowd(ca []byte) *crowd {
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(ca)
	return &crowd{trust: trust, gate: newGate(), results: map[string]int{}}
}

// Holds back whoever passes while it is shut.
type gate struct {
	mutex  sync.Mutex
	passed chan struct{}
	held   atomic.Int64
}

func newGate() *gate {
	open := make(chan struct{})
	close(open)
	return &gate{passed: open}
}

func (g *gate) shut() {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.passed = make(chan struct{})
}

func (g *gate) open() {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	close(g.passed)
}

func (g *gate) pass() {
	g.mutex.Lock()
	passed := g.passed
	g.mutex.Unlock()
	g.held.Add(1)
	<-passed
	g.held.Add(-1)
}

// A connection that sends one request at a time.
type connection struct {
	stream net.Conn
	read   *bufio.Reader
}

func (c *crowd) connect(from net.IP, to string) (*connection, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: 30 * time.Second}
	config := &tls.Config{RootCAs: c.trust, ServerName: "localhost", NextProtos: []string{"http/1.1"}}
	stream, err := tls.DialWithDialer(&dialer, "tcp", to, config)
	if err != nil {
		return nil, err
	}
	return &connection{stream, bufio.NewReaderSize(stream, 2048)}, nil
}

// Sends the text of a request, and returns the answer's status and ETag.
func (c *connection) ask(request []byte) (int, string, error) {
	c.stream.SetDeadline(time.Now().Add(60 * time.Second))
	if _, err := c.stream.Write(request); err != nil {
		return 0, "", err
	}
	answer, err := http.ReadResponse(c.read, nil)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0, "", err
	}
	if answer.Close {
		c.stream.Close()
	}
	return answer.StatusCode, answer.Header.Get("ETag"), nil
}

func requestOf(method, path, token, more string, body []byte) []byte {
	if token != "" {
		more += "Authorization: Bearer " + token + "\r\n"
	}
	if body != nil {
		more += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return append([]byte(method+" "+path+" HTTP/1.1\r\nHost: localhost\r\n"+more+"\r\n"), body...)
}

type polls struct {
	Address      string `json:"address"`
	First        int    `json:"first"`
	Count        int    `json:"count"`
	PerNamespace int    `json:"perNamespace"`
}

// Adds long polls, one a destination, and waits until each has its first answer.
func (c *crowd) poll(asked polls, cluster *cluster) (any, error) {
	c.mutex.Lock()
	if c.ended == nil {
		c.ended = make(chan struct{})
	}
	ended := c.ended
	c.mutex.Unlock()
	var begun sync.WaitGroup
	permits := make(chan struct{}, 64)
	for number := asked.First; number < asked.First+asked.Count; number++ {
		begun.Add(1)
		go c.pollAlways(pod{number, 0, asked.PerNamespace}, asked.Address, cluster, ended, permits, sync.OnceFunc(begun.Done))
	}
	begun.Wait()
	return c.stats(), nil
}

func (c *crowd) pollAlways(of pod, address string, cluster *cluster, ended chan struct{}, permits chan struct{}, begun func()) {
	defer begun()
	token, etag := of.token(signed), ""
	for {
		permits <- struct{}{}
		connection, err := c.connect(of.address(), address)
		if err == nil {
			_, etag, err = connection.ask(requestOf("GET", "/v1/destination", token, "", nil))
		}
		<-permits
		if err != nil {
			c.count("no connection")
			select {
			case <-ended:
				return
			case <-time.After(time.Second):
				continue
			}
		}
		begun()
		c.open.Add(1)
		stop := make(chan struct{})
		go func() {
			select {
			case <-ended:
			case <-stop:
			}
			connection.stream.Close()
		}()
		for err == nil {
			etag, err = c.pollOnce(connection, of, token, etag, cluster)
		}
		close(stop)
		c.open.Add(-1)
		select {
		case <-ended:
			return
		default:
			c.count("cut off")
		}
	}
}

func (c *crowd) pollOnce(connection *connection, of pod, token, etag string, cluster *cluster) (string, error) {
	c.gate.pass()
	c.waiting.Add(1)
	status, next, err := connection.ask(requestOf("GET", "/v1/destination", token, "Prefer: wait=15\r\nIf-None-Match: "+etag+"\r\n", nil))
	c.waiting.Add(-1)
	if err != nil {
		return "", err
	}
	c.count(fmt.Sprint(status))
	if status == 200 {
		if at := cluster.changedAt(of.destination); !at.IsZero() {
			c.mutex.Lock()
			c.delays = append(c.delays, time.Since(at).Seconds())
			c.mutex.Unlock()
		}
	}
	if status != 200 && status != 304 {
		time.Sleep(time.Second)
		return etag, nil
	}
	return next, nil
}

// What has become of the polls since this was last asked.
func (c *crowd) stats() any {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	results, delays := c.results, c.delays
	c.results, c.delays = map[string]int{}, nil
	sort.Float64s(delays)
	return map[string]any{
		"open": c.open.Load(), "waiting": c.waiting.Load(), "held": c.gate.held.Load(), "results": results,
		"delays": append([]float64{}, delays...),
	}
}

func (c *crowd) end() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.ended != nil {
		close(c.ended)
		c.ended = nil
	}
}

func (c *crowd) count(result string) {
	c.mutex.Lock()
	c.results[result]++
	c.mutex.Unlock()
}

// Pods that start: each asks for credentials until it has them.
type cold struct {
	Address      string  `json:"address"`
	Destinations int     `json:"destinations"`
	Pods         int     `json:"pods"` // of each destination
	PerNamespace int     `json:"perNamespace"`
	PerSecond    float64 `json:"perSecond"`
	// When pods give up.
	Seconds float64 `json:"seconds"`
}

type started struct {
	Destination int     `json:"destination"`
	Seconds     float64 `json:"seconds"` // since the first pod began
	Waited      float64 `json:"waited"`
	Attempts    int     `json:"attempts"`
	Error       string  `json:"error,omitempty"`
}

func (c *crowd) start(asked cold) []started {
	total := asked.Destinations * asked.Pods
	all := make([]started, total)
	begin := time.Now()
	var done sync.WaitGroup
	for i := range total {
		done.Add(1)
		go func() {
			defer done.Done()
			began := begin.Add(time.Duration(float64(i) / asked.PerSecond * float64(time.Second)))
			time.Sleep(time.Until(began))
			of := pod{i % asked.Destinations, i / asked.Destinations, asked.PerNamespace}
			attempts, err := c.startOne(of, asked.Address, begin.Add(time.Duration(asked.Seconds*float64(time.Second))))
			all[i] = started{of.destination, time.Since(begin).Seconds(), time.Since(began).Seconds(), attempts, ""}
			if err != nil {
				all[i].Error = err.Error()
			}
		}()
	}
	done.Wait()
	return all
}

// As the sidecar does it: after a failure it waits for three seconds, more or less.
func (c *crowd) startOne(of pod, address string, until time.Time) (int, error) {
	request := requestOf("GET", "/v1/credentials", of.token(signed), "", nil)
	var connection *connection
	last := errors.New("never tried")
	attempt := 0
	for time.Now().Before(until) {
		attempt++
		var status int
		if connection == nil {
			connection, last = c.connect(of.address(), address)
		}
		if connection != nil {
			status, _, last = connection.ask(request)
			if last == nil && status == 200 {
				connection.stream.Close()
				return attempt, nil
			}
			if last != nil || status != 503 {
				connection.stream.Close()
				connection = nil
			}
			if last == nil {
				last = fmt.Errorf("HTTP %d", status)
			}
		}
		time.Sleep(time.Duration(2500+(of.destination*37+of.number*101)%1000) * time.Millisecond)
	}
	return attempt, last
}
