package collateraltest

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"hitoku.dev/attest"
	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/snp"
	"hitoku.dev/attest/snp/snptest"
)

// Server hands out a world's documents as PCS, PCCS and KDS do. Its members may
// be changed between requests, under Set.
type Server struct {
	*httptest.Server
	w *World

	mu       sync.Mutex
	behave   Behaviour
	failures []failure
	requests []string
}

// Behaviour is what a Server does wrong, or differently.
type Behaviour struct {
	OldHeaders  bool   // issuer chains under their names of the earlier version
	NoHeaders   bool   // no issuer chains
	BothHeaders bool   // under both names, with different values
	Header      string // replaces the issuer chain
	FMSPC       string // TCB infos are for this FMSPC, whatever is asked for
	Evaluation  int    // TCB infos and identities have this number, whatever is asked for
	Truncate    bool   // answers end in the middle
	Oversize    bool   // answers are longer than any document
	Flip        bool   // one byte of each answer is changed
	CRLForm     string // "pem", "hex" or "der" (default)
	NoVCEK      bool   // 404 for VCEKs
	Redirect    string // to this address
}

type failure struct {
	status int
	header [2]string
}

// Serve starts a server that ends with the test.
func (w *World) Serve() *Server {
	s := &Server{w: w}
	s.Server = httptest.NewServer(s)
	w.tb.Cleanup(s.Close)
	return s
}

// Options are a client's that asks this server for everything, at the world's
// time. Pauses take no time and move the world's clock.
func (s *Server) Options() collateral.ClientOptions {
	return collateral.ClientOptions{HTTP: s.Client(), PCS: s.URL, RootCRL: s.URL + "/IntelSGXRootCA.der", KDS: s.URL, Now: s.w.Now, Wait: s.w.Wait}
}

// Set changes how the server behaves.
func (s *Server) Set(change func(*Behaviour)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.behave)
}

// Fail lets the next n requests end with a status and one header; status 0 ends
// the connection without an answer.
func (s *Server) Fail(n, status int, name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.failures = append(s.failures, failure{status, [2]string{name, value}})
	}
}

// Requests returns path and query of every request since the last call.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.requests
	s.requests = nil
	return out
}

// ServeHTTP answers.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, strings.TrimPrefix(r.URL.String(), s.URL))
	b := s.behave
	var fail *failure
	if len(s.failures) > 0 {
		fail, s.failures = &s.failures[0], s.failures[1:]
	}
	s.mu.Unlock()
	switch {
	case fail != nil && fail.status == 0:
		panic(http.ErrAbortHandler)
	case fail != nil:
		if fail.header[0] != "" {
			rw.Header().Set(fail.header[0], fail.header[1])
		}
		http.Error(rw, "failing as asked", fail.status)
		return
	case b.Redirect != "":
		http.Redirect(rw, r, b.Redirect, http.StatusFound)
		return
	}
	a := s.answer(r.URL, &b)
	if a == nil {
		http.NotFound(rw, r)
		return
	}
	s.writeChain(rw.Header(), a, &b)
	body := a.body
	if b.Flip {
		body = slices.Clone(body)
		body[len(body)/2] ^= 1
	}
	if b.Oversize {
		body = append(body, make([]byte, 2<<20)...)
	}
	rw.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if b.Truncate {
		body = body[:len(body)/2]
	}
	_, _ = rw.Write(body)
}

// reply is an answer with the headers, today's and the earlier one, that name its issuers.
type reply struct {
	body     []byte
	now, old string
	chain    []byte
}

func (s *Server) writeChain(h http.Header, a *reply, b *Behaviour) {
	if a.now == "" || b.NoHeaders {
		return
	}
	value := url.PathEscape(string(a.chain))
	if b.Header != "" {
		value = b.Header
	}
	if b.OldHeaders {
		h.Set(a.old, value)
	} else {
		h.Set(a.now, value)
	}
	if b.BothHeaders {
		h.Set(a.old, url.PathEscape(string(snptest.PEM(s.w.platformCA.cert))))
	}
}

func (s *Server) answer(u *url.URL, b *Behaviour) *reply {
	w, q := s.w, u.Query()
	tcbSigner := snptest.PEM(w.signer.cert, w.root.cert)
	tee, path := attest.SGX, u.Path
	if rest, ok := strings.CutPrefix(path, "/tdx/certification/v4/"); ok {
		tee, path = attest.TDX, rest
	} else {
		path = strings.TrimPrefix(path, "/sgx/certification/v4/")
	}
	switch path {
	case "tcb":
		fmspc := q.Get("fmspc")
		if b.FMSPC != "" {
			fmspc = b.FMSPC
		}
		if n := number(q, b); n != 0 && len(fmspc) == 12 {
			return &reply{w.TCBInfo(tee, fmspc, n), "TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain", tcbSigner}
		}
	case "qe/identity", "qve/identity", "qae/identity":
		id := map[string]string{"qe/identity": "QE", "qve/identity": "QVE", "qae/identity": "QAE"}[path]
		if tee == attest.TDX && id == "QE" {
			id = "TD_QE"
		}
		if n := number(q, b); n != 0 {
			return &reply{w.Identity(id, n), "SGX-Enclave-Identity-Issuer-Chain", "Enclave-Identity-Issuer-Chain", tcbSigner}
		}
	case "tcbevaluationdatanumbers":
		return &reply{w.EvaluationNumbers(tee), "TCB-Evaluation-Data-Numbers-Issuer-Chain", "TCB-Evaluation-Data-Numbers-Issuer-Chain", tcbSigner}
	case "pckcrl":
		if ca := q.Get("ca"); ca == dcap.CAProcessor || ca == dcap.CAPlatform {
			return &reply{crlForm(w.CRL(ca), b.CRLForm), "SGX-PCK-CRL-Issuer-Chain", "PCK-CRL-Issuer-Chain", snptest.PEM(w.ca(ca).cert, w.root.cert)}
		}
	case "pckcert", "pckcerts":
		w.mu.Lock()
		p := w.platforms[q.Get("encrypted_ppid")]
		w.mu.Unlock()
		if p == nil || q.Get("pceid") != "0000" {
			return nil
		}
		pem := snptest.PEM(p.pck.cert)
		if path == "pckcerts" {
			pem = fmt.Appendf(nil, `[{"tcb":{},"tcbm":"%x","cert":%q},{"tcb":{},"tcbm":"00","cert":"Not available"}]`, p.ext.TCB.CPUSVN, url.PathEscape(string(pem)))
		} else if q.Get("cpusvn") != hex.EncodeToString(p.ext.TCB.CPUSVN[:]) || q.Get("pcesvn") != "0d00" {
			return nil
		}
		return &reply{pem, "SGX-PCK-Certificate-Issuer-Chain", "PCS-Certificate-Issuer-Chain", snptest.PEM(p.Authority(), w.root.cert)}
	case "rootcacrl":
		return &reply{body: crlForm(w.CRL(""), "hex")}
	case "/IntelSGXRootCA.der":
		return &reply{body: crlForm(w.CRL(""), b.CRLForm)}
	}
	return s.amd(path, q, b)
}

// number is the evaluation number that a query asks for; 0 when there is none.
func number(q url.Values, b *Behaviour) int {
	all := evaluations()
	if b.Evaluation != 0 {
		return b.Evaluation
	}
	if s := q.Get("tcbEvaluationDataNumber"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || q.Has("update") || !slices.Contains(all, n) {
			return 0
		}
		return n
	}
	if q.Get("update") == "early" {
		return all[len(all)-1]
	}
	return all[0]
}

func crlForm(der []byte, form string) []byte {
	switch form {
	case "hex":
		return []byte(hex.EncodeToString(der))
	case "pem":
		return encodeCRL(der)
	}
	return der
}

// amd answers /{vcek,vlek}/v1/{product}/{cert_chain,crl,HWID}.
func (s *Server) amd(path string, q url.Values, b *Behaviour) *reply {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(parts) != 4 || parts[1] != "v1" || !snp.Product(parts[2]).Known() {
		return nil
	}
	key := snp.VCEK
	switch parts[0] {
	case "vcek":
	case "vlek":
		key = snp.VLEK
	default:
		return nil
	}
	product := snp.Product(parts[2])
	line := s.w.AMD.Line(product)
	switch parts[3] {
	case "cert_chain":
		return &reply{body: line.ChainPEM(key)}
	case "crl":
		return &reply{body: line.CRL(s.w.issuedAt(), s.w.revokedSerials(line.ARK.Cert.Subject.CommonName)...)}
	}
	hwid, err := hex.DecodeString(parts[3])
	if err != nil || len(hwid) != product.HWIDSize() || key != snp.VCEK || b.NoVCEK {
		return nil
	}
	part := func(name string) uint8 { n, _ := strconv.ParseUint(q.Get(name), 10, 8); return uint8(n) }
	tcb := snp.TCBParts{FMC: part("fmcSPL"), Bootloader: part("blSPL"), TEE: part("teeSPL"), SNP: part("snpSPL"), Microcode: part("ucodeSPL")}
	var chip [64]byte
	copy(chip[:], hwid)
	return &reply{body: line.VCEK(chip, tcb.Version(product)).Cert.Raw}
}
