package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/convert"
	"hitoku.dev/internal/wire"
)

type imageCreateOptions struct {
	conversionFlags
	app, tag, inputTag, outputTag string
	remote                        bool
	output
}

// created is what image create prints as JSON.
type created struct {
	Build      wire.Build      `json:"build"`
	Conversion *convert.Result `json:"conversion,omitempty"` // of one on this machine
}

func newImageCreateCommand() *cobra.Command {
	var o imageCreateOptions
	cmd := &cobra.Command{
		Use:   "create --app NAME --tag TAG",
		Short: "Convert an application's image and register its measurement",
		Long: `Convert an application's image and register its measurement with the manager.
The image is read from and written to the names that the application has, here
on this machine, with your registry log-ins and your signing key; the manager
gets the measurement only. Then the image waits for an approval.

The account root is filled in. Product id and version number are the
application's where no flag gives others, and the certificate's name is the
application's first name where --name and --certificate are missing.

With --remote the manager converts instead: with the settings of the application,
the account's own signing key, and the registry log-ins saved there (hitoku
registry create) or the one given here.`,
		Example: `  hitoku image create --app web --tag latest --tls 8443=5000
  hitoku image create --app web --tag latest --remote`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&o.app, "app", "", "application `name` or id (required)")
	f.StringVar(&o.tag, "tag", "latest", "tag of both images")
	f.StringVar(&o.inputTag, "input-tag", "", "tag of the input image (default: --tag)")
	f.StringVar(&o.outputTag, "output-tag", "", "tag of the converted image (default: --tag)")
	f.BoolVar(&o.remote, "remote", false, "let the manager convert")
	o.register(f)
	o.flag(cmd)
	return cmd
}

func (o *imageCreateOptions) run(cmd *cobra.Command) error {
	if o.app == "" {
		return usageError{errors.New("image create: --app is missing")}
	}
	if o.remote {
		return o.runRemote(cmd)
	}
	if o.noManager || o.accountRoot != "" {
		return usageError{errors.New("image create: the account root comes from the manager; use hitoku convert for --no-manager and --account-root")}
	}
	ctx := cmd.Context()
	s, c, err := connect()
	if err != nil {
		return err
	}
	app, err := c.App(ctx, o.app)
	if err != nil {
		return err
	}
	account, err := s.account(ctx, c)
	if err != nil {
		return err
	}
	root, err := client.Get[wire.RootReply](ctx, c, "/v1/accounts/"+account+"/root")
	if err != nil {
		return fmt.Errorf("account root: %w", err)
	}
	o.accountRoot = "sha256:" + root.SPKISHA256
	o.defaults(cmd, app)
	q, err := o.request(cmd, &convert.File{Input: withTag(app.InputImageName, o.inputTag, o.tag), Output: withTag(app.OutputImageName, o.outputTag, o.tag)})
	if err != nil {
		return fmt.Errorf("image create: %w", err)
	}
	meter := newMeter(cmd.ErrOrStderr())
	q.Progress = meter.event
	res, err := convert.Convert(ctx, *q)
	meter.end()
	if err != nil {
		return conversionFailure("image create", err)
	}
	for _, n := range res.Notices {
		fmt.Fprintln(cmd.ErrOrStderr(), "note: "+n)
	}
	b, err := registerBuild(ctx, c, app, measuredBuild{
		tee: o.tee, measurement: res.Measurement, signer: res.MRSigner, prodID: res.ISVProdID, svn: res.ISVSVN, image: dockerInfo(q.Output, res), enclave: res.Enclave,
	})
	if err != nil {
		return fmt.Errorf("%s is converted, but not registered: %w", q.Output, err)
	}
	return o.print(cmd, created{b, res}, func(w io.Writer) {
		printConversion(w, res)
		printRegistered(w, b)
	})
}

// defaults fills what the application says into flags that were not given.
func (o *imageCreateOptions) defaults(cmd *cobra.Command, app wire.App) {
	if !cmd.Flags().Changed("isv-prod-id") {
		o.prodID = uint16(app.ISVProdID)
	}
	if !cmd.Flags().Changed("isv-svn") {
		o.svn = uint16(app.ISVSVN)
	}
	names := append(append([]string{}, app.WhitelistedDomains...), app.DomainsAdded...)
	if o.name == "" && len(o.certificates) == 0 && len(names) > 0 {
		o.name = names[0]
	}
}

// withTag appends the first tag that is not empty, unless the name has one.
func withTag(name string, tags ...string) string {
	base, _ := splitTag(name)
	for _, t := range tags {
		if t != "" {
			return base + ":" + t
		}
	}
	return name
}

func dockerInfo(output string, res *convert.Result) *wire.DockerInfo {
	name, tag := splitTag(output)
	info := &wire.DockerInfo{DockerImageName: name, DockerVersion: tag, DockerImageSHA: res.Digest, DockerImageSize: res.Size >> 20}
	if res.Config != nil {
		for p := range res.Config.ExposedPorts {
			var port int
			var protocol string
			if n, _ := fmt.Sscanf(p, "%d/%s", &port, &protocol); n >= 1 {
				info.ExposedPorts = append(info.ExposedPorts, wire.DockerPort{Port: port, Protocol: map[string]string{"udp": "UDP"}[protocol]})
			}
		}
	}
	for i := range info.ExposedPorts {
		if info.ExposedPorts[i].Protocol == "" {
			info.ExposedPorts[i].Protocol = "TCP"
		}
	}
	return info
}
