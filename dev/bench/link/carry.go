package main

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	chunkBytes = 64 << 10
	// Chunks of one connection and direction that may be on their way.
	chunksOnTheWay = 512
)

var chunks = sync.Pool{New: func() any { b := make([]byte, chunkBytes); return &b }}

type link struct {
	oneWay time.Duration
	narrow *narrow
	gauge  gauge
}

type chunk struct {
	bytes  *[]byte
	length int
	due    time.Time
}

func (l *link) carry(near *net.TCPConn, to string) {
	defer near.Close()
	// The client's connect has returned already: what its handshake would have taken is waited for here.
	time.Sleep(2 * l.oneWay)
	dialled, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	far := dialled.(*net.TCPConn)
	defer far.Close()
	var asks atomic.Bool
	answered := func() {
		if asks.CompareAndSwap(true, false) {
			l.gauge.add(-1, time.Now())
		}
	}
	done := make(chan struct{}, 2)
	go func() {
		l.direction(near, far, l.narrow, func() {
			if asks.CompareAndSwap(false, true) {
				l.gauge.add(1, time.Now())
			}
		}, nil)
		// What TLS says at its end is no request.
		answered()
		done <- struct{}{}
	}()
	go func() {
		l.direction(far, near, nil, nil, answered)
		done <- struct{}{}
	}()
	<-done
	<-done
}

// Copies until one side ends, each chunk a fixed time after it came.
func (l *link) direction(from, to *net.TCPConn, narrow *narrow, came, went func()) {
	onTheWay := make(chan chunk, chunksOnTheWay)
	go func() {
		defer close(onTheWay)
		for {
			buffer := chunks.Get().(*[]byte)
			n, err := from.Read(*buffer)
			if n > 0 {
				if came != nil {
					came()
				}
				left := time.Now()
				if narrow != nil {
					left = narrow.pass(n)
				}
				onTheWay <- chunk{buffer, n, left.Add(l.oneWay)}
			}
			if err != nil {
				return
			}
		}
	}()
	broken := false
	for chunk := range onTheWay {
		if !broken {
			time.Sleep(time.Until(chunk.due))
			if went != nil {
				went()
			}
			_, err := to.Write((*chunk.bytes)[:chunk.length])
			if broken = err != nil; broken {
				from.CloseRead()
			}
		}
		chunks.Put(chunk.bytes)
	}
	to.CloseWrite()
}

// A rate with a finite queue before it, which all connections share. Where the queue is full, the sender waits: a proxy
// can drop no packet of a TCP connection.
type narrow struct {
	rate, queue float64

	mutex sync.Mutex
	// When everything in the queue has left it.
	empty time.Time
}

// Takes so many bytes into the queue, and returns when they leave it.
func (n *narrow) pass(bytes int) time.Time {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	takes := time.Duration(float64(bytes) / n.rate * float64(time.Second))
	holds := time.Duration(n.queue / n.rate * float64(time.Second))
	if now := time.Now(); n.empty.Before(now) {
		n.empty = now
	}
	if full := time.Until(n.empty) + takes - holds; full > 0 {
		// With the lock: others come behind it.
		time.Sleep(full)
	}
	n.empty = n.empty.Add(takes)
	return n.empty
}

// How many connections have asked something and have no answer: with HTTP/1.1, the requests in flight.
type gauge struct {
	mutex       sync.Mutex
	now, peak   int
	since, last time.Time
	seconds     float64 // requests times seconds
}

type reading struct {
	Peak int     `json:"peak"`
	Mean float64 `json:"mean"`
}

func (g *gauge) add(change int, at time.Time) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.pass(at)
	g.now += change
	g.peak = max(g.peak, g.now)
}

func (g *gauge) reset(at time.Time) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.peak, g.seconds, g.since, g.last = g.now, 0, at, at
}

func (g *gauge) read(at time.Time) reading {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.pass(at)
	return reading{g.peak, g.seconds / max(g.last.Sub(g.since).Seconds(), 1e-9)}
}

func (g *gauge) pass(at time.Time) {
	if at.After(g.last) {
		g.seconds += float64(g.now) * at.Sub(g.last).Seconds()
		g.last = at
	}
}
