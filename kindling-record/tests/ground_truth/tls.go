// A TLS server and its clients in one process, whose goroutines move between threads and whose stacks move in memory.
//
//	tls echo    clients send blocks of known bytes, which come back
//	tls http    requests of HTTP/1 and HTTP/2
//
// echo prints {"pid", "port", "clients": [{"port", "bytes", "writes", "reads"}]}, what each client wrote and read;
// byte i that client k sends is a letter, (k + i) modulo 26. http prints {"pid", "http1", "http2"}: how many requests.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"
)

const (
	clients  = 8
	blocks   = 60
	requests = 20
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// As programs do that count or limit what a connection moves.
type wrapped struct {
	net.Conn
	bytes int
}

// Calls f from so deep that the stack has to grow first; the next garbage collection shrinks it again.
//
//go:noinline
func deep(depth int, f func()) int {
	var room [512]byte
	room[depth%len(room)] = 1
	if depth == 0 {
		f()
		return int(room[0])
	}
	return deep(depth-1, f) + int(room[0])
}

func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func answer(c net.Conn) {
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if err != nil {
			c.Close()
			return
		}
		_, err = c.Write(b[:n])
		must(err)
	}
}

type told struct {
	Port   int `json:"port"`
	Bytes  int `json:"bytes"`
	Writes int `json:"writes"`
	Reads  int `json:"reads"`
}

func client(k int, address string) told {
	plain, err := net.Dial("tcp", address)
	must(err)
	told := told{Port: plain.LocalAddr().(*net.TCPAddr).Port}
	if k%2 == 1 {
		plain = &wrapped{Conn: plain}
	}
	c := tls.Client(plain, &tls.Config{InsecureSkipVerify: true})
	for n := 0; n < blocks; n++ {
		out := make([]byte, 1+(n*977+k*131)%8000)
		for i := range out {
			out[i] = 'a' + byte((k+told.Bytes+i)%26)
		}
		deep(n%7*8, func() {
			_, err := c.Write(out)
			must(err)
		})
		told.Writes++
		told.Bytes += len(out)
		in := make([]byte, len(out))
		for have := 0; have < len(in); {
			deep((n+k)%5*16, func() {
				got, err := c.Read(in[have:])
				must(err)
				have += got
			})
			told.Reads++
		}
		if string(in) != string(out) {
			must(fmt.Errorf("client %d got something else", k))
		}
	}
	c.Close()
	return told
}

func echo() {
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate()}})
	must(err)
	var all sync.WaitGroup
	all.Add(2 * clients)
	go func() {
		for {
			c, err := listener.Accept()
			must(err)
			go func() {
				answer(c)
				all.Done()
			}()
		}
	}()
	go func() {
		for {
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
	}()
	told := make([]told, clients)
	for k := range told {
		go func(k int) {
			told[k] = client(k, listener.Addr().String())
			all.Done()
		}(k)
	}
	all.Wait()
	must(json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
		"pid": os.Getpid(), "port": listener.Addr().(*net.TCPAddr).Port, "clients": told}))
}

func get(c *http.Client, url, version string) {
	answer, err := c.Get(url)
	must(err)
	body, err := io.ReadAll(answer.Body)
	must(err)
	answer.Body.Close()
	if string(body) != "hello\n" || answer.Proto != version {
		must(fmt.Errorf("%s, %q", answer.Proto, body))
	}
}

func requestAll() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, "hello")
		}),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate()}},
	}
	go server.ServeTLS(listener, "", "")
	url := "https://" + listener.Addr().String()
	config := &tls.Config{InsecureSkipVerify: true}
	old := &http.Client{Transport: &http.Transport{TLSClientConfig: config,
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}
	new := &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true}}
	for n := 0; n < requests; n++ {
		get(old, url+"/one", "HTTP/1.1")
		get(new, url+"/two", "HTTP/2.0")
	}
	fmt.Printf("{\"pid\": %d, \"http1\": %d, \"http2\": %d}\n", os.Getpid(), requests, requests)
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "http" {
		requestAll()
	} else {
		echo()
	}
}
