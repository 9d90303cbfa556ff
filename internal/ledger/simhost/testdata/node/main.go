// Command node is a program of one file for the tests of package simhost: it starts as a
// ledger node does, and answers on its standard output what it is asked on its input.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"hitoku.dev/enclave/simtee/client"
	"hitoku.dev/internal/ledger/member"
)

func main() {
	log, err := member.CleanStart(os.Args)
	if err != nil {
		fail(err)
	}
	fmt.Fprintln(log, "a line of the log")
	fmt.Println(len(os.Environ()), os.Getuid())
	ctx := context.Background()
	s, err := member.OpenSimulated(ctx, os.Args[1])
	if err != nil {
		fail(err)
	}
	tee := member.FromSimulated(s, time.Now)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var arg [32]byte
		word, rest, _ := strings.Cut(in.Text(), " ")
		copy(arg[:], rest)
		switch word {
		case "evidence":
			p, err := tee.Evidence(ctx, arg, [32]byte{1})
			if err != nil {
				fmt.Println("error", err)
				continue
			}
			out, _ := json.Marshal(p)
			fmt.Println(string(out))
		case "seal":
			key, err := tee.SealKey(ctx, arg)
			fmt.Println(hex.EncodeToString(key), err)
		case "fail":
			panic("a failure")
		case "close":
			fmt.Println(s.Close(), s.Close() == client.ErrClosed)
			_, err := tee.Evidence(ctx, arg, arg)
			fmt.Println(err)
		}
	}
}

func fail(err error) {
	fmt.Println("error", err)
	os.Exit(1)
}
