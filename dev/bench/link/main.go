// A long link in front of the sink: a TCP proxy that holds every byte back for half of a round trip. Told to, it also
// carries no more than a rate, with a finite queue in front of it. Only loopback is reached.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"syscall"
	"time"
)

// What a sender may have on its way into a full queue. On loopback, whose packets have 64 KiB, a smaller one stalls.
const receiveBuffer = 256 << 10

func main() {
	plain := flag.String("plain", "", "address of the sink, plain HTTP")
	secure := flag.String("tls", "", "address of the sink, TLS")
	roundTrip := flag.Duration("round-trip", 0, "time for a byte there and one back")
	rate := flag.Int64("rate", 0, "bytes a second towards the sink, of all connections together; 0: no limit")
	queue := flag.Int64("queue", 1<<20, "bytes that wait in front of the rate")
	flag.Parse()
	l := &link{oneWay: *roundTrip / 2}
	l.gauge.reset(time.Now())
	if *rate > 0 {
		l.narrow = &narrow{rate: float64(*rate), queue: float64(*queue)}
	}
	addresses := map[string]string{
		"plain": "http://" + l.listen(*plain), "tls": "https://" + l.listen(*secure), "control": "http://" + l.control(),
	}
	line, err := json.Marshal(addresses)
	must(err)
	fmt.Println(string(line))
	select {}
}

func (l *link) listen(to string) string {
	config := net.ListenConfig{}
	if l.narrow != nil {
		config.Control = func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) {
				must(syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer))
			})
		}
	}
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	must(err)
	go func() {
		for {
			near, err := listener.Accept()
			must(err)
			go l.carry(near.(*net.TCPConn), to)
		}
	}()
	return listener.Addr().String()
}

// Requests in flight since the last reset, for the bench.
func (l *link) control() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	go func() {
		must(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/reset":
				l.gauge.reset(time.Now())
			case "/stats":
				must(json.NewEncoder(w).Encode(l.gauge.read(time.Now())))
			default:
				http.NotFound(w, r)
			}
		})))
	}()
	return listener.Addr().String()
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
