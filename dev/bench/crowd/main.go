// A fake API server, a fake AWS and thousands of callers, for `python3 -m dev.bench tenants`. The fakes answer at once, so
// that the operator's own work is what is measured; the operator's processes are the real ones.
package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"strings"
)

func main() {
	directory := flag.String("directory", "", "where to write the certificates and the kubeconfig")
	flag.Parse()
	ca, certificate := issue(*directory)
	secure, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	must(err)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	url := "https://" + secure.Addr().String()
	writeKubeconfig(filepath.Join(*directory, "kubeconfig"), url, ca)
	world := &world{cluster: newCluster(), aws: newAWS(), crowd: newCrowd(ca)}
	// Clients give handshakes up when another connection becomes free first.
	quiet := log.New(io.Discard, "", 0)
	go func() {
		must((&http.Server{Handler: http.HandlerFunc(world.serve), ErrorLog: quiet}).Serve(secure))
	}()
	line, err := json.Marshal(map[string]string{"control": "http://" + plain.Addr().String(), "endpoint": url})
	must(err)
	fmt.Println(string(line))
	must((&http.Server{Handler: http.HandlerFunc(world.control), ErrorLog: quiet}).Serve(plain))
}

type world struct {
	cluster *cluster
	aws     *aws
	crowd   *crowd
}

// The paths of Kubernetes and those of AWS differ, so one listener serves both.
func (w *world) serve(response http.ResponseWriter, request *http.Request) {
	if strings.HasPrefix(request.URL.Path, "/api/") || strings.HasPrefix(request.URL.Path, "/apis/") {
		w.cluster.serve(response, request)
	} else {
		w.aws.serve(response, request)
	}
}

// What the bench asks for. Every answer is JSON.
func (w *world) control(response http.ResponseWriter, request *http.Request) {
	answer, err := w.command(request)
	if err != nil {
		http.Error(response, err.Error(), 400)
		return
	}
	must(json.NewEncoder(response).Encode(answer))
}

func (w *world) command(request *http.Request) (any, error) {
	read := json.NewDecoder(request.Body)
	switch request.URL.Path {
	case "/destinations":
		var all []*object
		if err := read.Decode(&all); err != nil {
			return nil, err
		}
		w.cluster.add(all)
		return len(all), nil
	case "/clear":
		w.cluster.clear()
		return nil, nil
	case "/destination":
		return w.cluster.find(request.URL.Query().Get("namespace"), request.URL.Query().Get("name"))
	case "/suspend":
		return w.cluster.suspend(request.URL.Query().Get("namespace"), request.URL.Query().Get("name"))
	case "/counts":
		return w.cluster.counted(), nil
	case "/calls":
		return w.aws.taken(), nil
	case "/changes":
		var asked changes
		if err := read.Decode(&asked); err != nil {
			return nil, err
		}
		return w.cluster.change(asked), nil
	case "/polls":
		var asked polls
		if err := read.Decode(&asked); err != nil {
			return nil, err
		}
		return w.crowd.poll(asked, w.cluster)
	case "/polls/hold":
		w.crowd.gate.shut()
		return nil, nil
	case "/polls/release":
		w.crowd.gate.open()
		return nil, nil
	case "/polls/stats":
		return w.crowd.stats(), nil
	case "/polls/end":
		w.crowd.end()
		return nil, nil
	case "/cold":
		var asked cold
		if err := read.Decode(&asked); err != nil {
			return nil, err
		}
		return w.crowd.start(asked), nil
	case "/load":
		var asked load
		if err := read.Decode(&asked); err != nil {
			return nil, err
		}
		return w.crowd.load(asked)
	}
	return nil, fmt.Errorf("no command is called %s", request.URL.Path)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
