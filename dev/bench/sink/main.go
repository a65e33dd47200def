// The other end of `make bench`: enough of S3 for every client that is measured, on loopback only. It keeps no bodies,
// only what they were: sizes and checksums. It refuses what does not have the checksum that it is said to have. It
// does not look at signatures. Told to, it fails in one of the ways of faults.go.
package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
)

func main() {
	caFile := flag.String("ca", "", "where to write the CA (PEM) by which the TLS listener is to be trusted")
	thorough := flag.Bool("thorough", false, "check every digest and make ETags as S3 does, whatever that costs")
	flag.Parse()
	s := newSink(*thorough)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	server := &http.Server{Handler: s, ErrorLog: log.New(os.Stderr, "", 0)}
	// HTTP/1.1 alone, as S3 has it.
	config := &tls.Config{Certificates: []tls.Certificate{certificate(*caFile)}, NextProtos: []string{"http/1.1"}}
	secure, err := tls.Listen("tcp", "127.0.0.1:0", config)
	must(err)
	go func() { must(server.Serve(secure)) }()
	addresses := map[string]string{"plain": "http://" + plain.Addr().String(), "tls": "https://" + secure.Addr().String()}
	line, err := json.Marshal(addresses)
	must(err)
	fmt.Println(string(line))
	must(server.Serve(plain))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/-/"):
		s.control(w, r)
	case strings.HasPrefix(r.URL.Path, "/v1/"):
		s.broker(w, r)
	default:
		s.s3(w, r)
	}
}
