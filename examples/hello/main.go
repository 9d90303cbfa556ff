// Command hello is the sample web application of `hitoku demo`: a plain HTTP
// server that knows nothing of attestation. It serves the folder /www and says
// at /whoami what it can see of its surroundings.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"slices"
	"time"
)

func main() {
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServer(http.Dir("/www")))
	mux.HandleFunc("GET /whoami", func(w http.ResponseWriter, _ *http.Request) {
		env := os.Environ()
		slices.Sort(env)
		fmt.Fprintf(w, "uid %d gid %d arguments %q environment %q\n", os.Getuid(), os.Getgid(), os.Args[1:], env)
	})
	addr := ":8080"
	if p := os.Getenv("PORT"); p != "" {
		addr = ":" + p
	}
	log.Printf("hello: listening on %s", addr)
	server := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}
