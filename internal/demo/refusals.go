package demo

import (
	"context"

	"hitoku.dev/internal/demo/play"
	"hitoku.dev/internal/image"
)

func (d *demo) refuseTampered(ctx context.Context) (string, error) {
	from, err := image.Parse(d.registry + "/hello-hitoku:1")
	if err != nil {
		return "", err
	}
	source, err := image.Open(ctx, from, image.Options{})
	if err != nil {
		return "", err
	}
	defer source.Close()
	evil, err := tampered(source.Image(), file{name: "www/index.html", mode: 0o644, body: []byte("<h1>Send your password here</h1>\n")})
	if err != nil {
		return "", err
	}
	to, err := image.Parse(d.registry + "/hello-tampered:1")
	if err != nil {
		return "", err
	}
	if _, err := image.Write(ctx, to, evil, image.WriteOptions{}); err != nil {
		return "", err
	}
	d.Note("(an operator adds a layer that replaces /www/index.html)")
	return d.Refused(ctx, "/www/index.html", d.runArgs(d.agentURL, to.String())...)
}

func (d *demo) refuseUnapproved(ctx context.Context) (string, error) {
	account, _ := d.roots()
	// The same application with another measured environment: another measurement.
	_, err := d.Command(ctx, "", "convert", d.registry+"/hello:1", d.registry+"/hello-unapproved:1", "--account-root", account,
		"--name", domainName, "--tls", "8443=8080", "--env", "GREETING=changed", "--key", d.Path("signing-key.pem"))
	if err != nil {
		return "", err
	}
	return d.Refused(ctx, "known_image", d.runArgs(d.agentURL, d.registry+"/hello-unapproved:1")...)
}

func (d *demo) refuseNode(ctx context.Context) (string, error) {
	d.Note("(another machine tries the join token that was used already)")
	return d.Refused(ctx, "join token", "agent", "--manager", d.manager, "--join-token-file", d.tokenFile, "--data-dir", d.Path("agent-2"),
		"--listen", play.FreeOr("127.0.0.1", 9093), "--tee-dir", d.Path("tee-2"), "--name", "another-machine")
}
