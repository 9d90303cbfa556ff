package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"hitoku.dev/internal/image"
)

// refused runs a command that must fail and whose message must contain want.
func (d *demo) refused(ctx context.Context, want string, args ...string) (string, error) {
	_, err := d.command(ctx, "", args...)
	var failed *commandError
	if !errors.As(err, &failed) {
		if err == nil {
			err = errors.New("it was not refused")
		}
		return "", err
	}
	text := failed.text + "\n" + failed.out
	if !strings.Contains(text, want) {
		return "", fmt.Errorf("it was refused for another reason than %q: %s", want, text)
	}
	return "refused, exit code " + fmt.Sprint(failed.code) + ":\n" + strings.TrimSpace(text), nil
}

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
	fmt.Fprintf(d.Out, "    %s\n", d.faint("(an operator adds a layer that replaces /www/index.html)"))
	return d.refused(ctx, "/www/index.html", d.runArgs(d.agentURL, to.String())...)
}

func (d *demo) refuseUnapproved(ctx context.Context) (string, error) {
	account, _ := d.roots()
	// The same application with another measured environment: another measurement.
	_, err := d.command(ctx, "", "convert", d.registry+"/hello:1", d.registry+"/hello-unapproved:1", "--account-root", account,
		"--name", domainName, "--tls", "8443=8080", "--env", "GREETING=changed", "--key", d.path("signing-key.pem"))
	if err != nil {
		return "", err
	}
	return d.refused(ctx, "known_image", d.runArgs(d.agentURL, d.registry+"/hello-unapproved:1")...)
}

func (d *demo) refuseNode(ctx context.Context) (string, error) {
	fmt.Fprintf(d.Out, "    %s\n", d.faint("(another machine tries the join token that was used already)"))
	return d.refused(ctx, "join token", "agent", "--manager", d.manager, "--join-token-file", d.tokenFile, "--data-dir", d.path("agent-2"),
		"--listen", freeOr("127.0.0.1", 9093), "--tee-dir", d.path("tee-2"), "--name", "another-machine")
}
