package api

import (
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// openAPI makes the document from the routes.
func (s *Server) openAPI() ([]byte, error) {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schema := func(t reflect.Type) *huma.Schema { return registry.Schema(t, true, t.Name()) }
	doc := huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Hitoku ledger node", Version: s.o.Version,
			Description: "What clients send and get is sealed (docs/ledger-protocol.md, section 7). Nodes call each other under /api/v1/peer/, which is no part of this interface.",
		},
		Components: &huma.Components{
			Schemas: registry,
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"key":       {Type: "apiKey", In: "header", Name: HeaderKey, Description: "hex, Ed25519 public key of the slot's operator or of an administrator"},
				"notAfter":  {Type: "apiKey", In: "header", Name: HeaderNotAfter, Description: "seconds since 1970, at most 300 ahead"},
				"nonce":     {Type: "apiKey", In: "header", Name: HeaderNonce, Description: "hex, 16 bytes, used once"},
				"signature": {Type: "apiKey", In: "header", Name: HeaderSignature, Description: "base64, 64 bytes over ADMIN(ledger, iid, method, path, H(body), not_after u64, nonce)"},
			},
		},
		Paths: map[string]*huma.PathItem{},
	}
	failure := &huma.Response{Description: "refused or failed", Content: map[string]*huma.MediaType{"application/json": {Schema: schema(reflect.TypeFor[Error]())}}}
	routes := append(append([]route(nil), s.routes...), route{
		method: "GET", path: "/metrics", tag: "monitoring", summary: "Metrics in Prometheus's text form", media: "text/plain",
	})
	for _, rt := range routes {
		op := &huma.Operation{
			OperationID: operationID(rt), Method: rt.method, Path: rt.path, Summary: rt.summary, Tags: []string{rt.tag},
			Responses: map[string]*huma.Response{"default": failure},
			Security:  []map[string][]string{},
		}
		if rt.admin {
			op.Security = []map[string][]string{{"key": {}, "notAfter": {}, "nonce": {}, "signature": {}}}
		}
		for _, p := range rt.parameters {
			op.Parameters = append(op.Parameters, &huma.Param{Name: p.name, In: p.in, Required: p.in == "path", Description: p.doc, Schema: &huma.Schema{Type: huma.TypeString}})
		}
		if rt.in != nil && rt.in != reflect.TypeFor[none]() {
			op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: schema(rt.in)}}}
		}
		success := &huma.Response{Description: http.StatusText(max(rt.status, http.StatusOK))}
		switch {
		case rt.media != "":
			success.Content = map[string]*huma.MediaType{rt.media: {Schema: &huma.Schema{Type: huma.TypeString}}}
		default:
			success.Content = map[string]*huma.MediaType{"application/json": {Schema: schema(rt.out)}}
		}
		op.Responses[strconv.Itoa(max(rt.status, http.StatusOK))] = success
		item := doc.Paths[rt.path]
		if item == nil {
			item = &huma.PathItem{}
			doc.Paths[rt.path] = item
		}
		switch rt.method {
		case http.MethodGet:
			item.Get = op
		case http.MethodPost:
			item.Post = op
		default:
			return nil, fmt.Errorf("route %s %s: the document knows GET and POST", rt.method, rt.path)
		}
	}
	return doc.MarshalJSON()
}

func operationID(rt route) string {
	parts := strings.FieldsFunc(strings.TrimPrefix(rt.path, "/api/v1/"), func(r rune) bool { return strings.ContainsRune("/{}_-.", r) })
	return strings.ToLower(rt.method) + "-" + strings.Join(parts, "-")
}
