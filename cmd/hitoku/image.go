package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/convert"
	"hitoku.dev/internal/image"
	"hitoku.dev/internal/wire"
)

func newImageCommand() *cobra.Command {
	return group("image", "Images of applications: create, register, list, show, withdraw, delete",
		newImageCreateCommand(), newImageRegisterCommand(), newImageListCommand(), newImageShowCommand(), newImageWithdrawCommand(), newImageDeleteCommand())
}

type imageRegisterOptions struct {
	app, tee, measurement, signer, name string
	sigstruct, sgxs                     string
	prodID, svn                         uint16
	output
}

func newImageRegisterCommand() *cobra.Command {
	var o imageRegisterOptions
	cmd := &cobra.Command{
		Use:   "register --app NAME --measurement HEX --signer HEX | --app NAME --sigstruct FILE",
		Short: "Register a measurement that was found elsewhere, for example by hitoku convert",
		Long: `Register a measurement that was found elsewhere, for example by hitoku convert.
Then the image waits for an approval. Product id and version number are the
application's where no flag gives others.

An SGX enclave that other tools made is registered by its SIGSTRUCT, which has all
four (a file of 1808 bytes, NAME.sig), or by its SGX stream with --sgxs and --signer. A
SIGSTRUCT with a wrong signature, or for debug enclaves, is refused.`,
		Example: `  hitoku image register --app web --measurement 3f…9c --signer 83…d7
  hitoku image register --app enclave --sigstruct app.sig --sgxs app.sgxs`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&o.app, "app", "", "application `name` or id (required)")
	f.StringVar(&o.measurement, "measurement", "", "measurement (of SGX: MRENCLAVE), 64 hexadecimal `digits` (required)")
	f.StringVar(&o.signer, "signer", "", "MRSIGNER, 64 hexadecimal `digits` (required)")
	f.StringVar(&o.tee, "tee", "sim", "`KIND` of TEE that it was measured for: sim or sgx")
	f.StringVar(&o.sigstruct, "sigstruct", "", "`FILE` with the SIGSTRUCT of an SGX enclave, instead of --measurement and --signer")
	f.StringVar(&o.sgxs, "sgxs", "", "`FILE` with the SGX stream of an enclave, instead of --measurement")
	f.StringVar(&o.name, "name", "", "image `NAME:TAG`, for people")
	f.Uint16Var(&o.prodID, "isv-prod-id", 0, "product id (default: the application's)")
	f.Uint16Var(&o.svn, "isv-svn", 0, "security version number (default: the application's)")
	o.flag(cmd)
	return cmd
}

func (o *imageRegisterOptions) run(cmd *cobra.Command) error {
	if err := o.fromFiles(cmd.Flags().Changed); err != nil {
		return err
	}
	if o.app == "" || o.measurement == "" || o.signer == "" {
		return usageError{errors.New("image register: --app, --measurement and --signer are all needed, or --app and --sigstruct")}
	}
	for _, flag := range []struct{ name, value string }{{"measurement", o.measurement}, {"signer", o.signer}} {
		if raw, err := hex.DecodeString(flag.value); err != nil || len(raw) != 32 {
			return usageError{fmt.Errorf("image register: --%s %q: wanted 64 hexadecimal digits", flag.name, flag.value)}
		}
	}
	if o.tee != "sim" && o.tee != "sgx" {
		return usageError{fmt.Errorf("image register: --tee %q: wanted sim or sgx", o.tee)}
	}
	_, c, err := connect()
	if err != nil {
		return err
	}
	app, err := c.App(cmd.Context(), o.app)
	if err != nil {
		return err
	}
	m := measuredBuild{tee: o.tee, measurement: o.measurement, signer: o.signer, prodID: o.prodID, svn: o.svn}
	if !cmd.Flags().Changed("isv-prod-id") && o.sigstruct == "" {
		m.prodID = uint16(app.ISVProdID)
	}
	if !cmd.Flags().Changed("isv-svn") && o.sigstruct == "" {
		m.svn = uint16(app.ISVSVN)
	}
	if o.name != "" {
		m.image = &wire.DockerInfo{}
		m.image.DockerImageName, m.image.DockerVersion = splitTag(o.name)
	}
	b, err := registerBuild(cmd.Context(), c, app, m)
	if err != nil {
		return err
	}
	return o.print(cmd, b, func(w io.Writer) { printRegistered(w, b) })
}

// measuredBuild is what the manager is told about a build.
type measuredBuild struct {
	tee, measurement, signer string // tee: sim or sgx
	prodID, svn              uint16
	image                    *wire.DockerInfo // may be nil
	enclave                  *convert.Enclave // of a conversion for SGX; else nil
}

func registerBuild(ctx context.Context, c *client.Client, app wire.App, m measuredBuild) (wire.Build, error) {
	q := wire.BuildRequest{
		AppID: app.AppID, MREnclave: strings.ToLower(m.measurement), MRSigner: strings.ToLower(m.signer), ISVProdID: int32(m.prodID), ISVSVN: int32(m.svn),
		MemSize: app.MemSize, Threads: app.Threads, DockerInfo: m.image,
	}
	if m.tee == "sim" {
		q.Attributes = map[string]wire.BuildAttributes{"simulated": {Simulated: &wire.SimulatedAttributes{Measurement: q.MREnclave}}}
	}
	if e := m.enclave; e != nil {
		if e.Debug {
			return wire.Build{}, fmt.Errorf("measurement %s is of a debug enclave, whose memory can be read: it is not registered", q.MREnclave)
		}
		q.MemSize, q.Threads = int64(e.EnclaveSize>>20), int32(e.Threads)
	}
	b, err := client.Post[wire.Build](ctx, c, "/v1/builds", q)
	if err != nil {
		return b, fmt.Errorf("register measurement %s for application %s: %w", q.MREnclave, app.Name, err)
	}
	return b, nil
}

func printRegistered(w io.Writer, b wire.Build) {
	fmt.Fprintf(w, "Image %s registered for application %s: %s.\nid\t%s\n", client.BuildName(b), b.AppName, b.Status.Status, b.BuildID)
	if b.PendingTaskID != "" {
		fmt.Fprintf(w, "waits\ttask %s: `hitoku task approve %s`\n", b.PendingTaskID, b.PendingTaskID)
	}
}

// splitTag cuts an image reference into name and tag; "latest" when there is none.
func splitTag(ref string) (name, tag string) {
	start := 0
	for _, transport := range []image.Kind{image.KindRegistry, image.KindLayout, image.KindArchive, image.KindEngine} {
		if strings.HasPrefix(ref, string(transport)+":") {
			start = len(transport) + 1
		}
	}
	i := strings.LastIndexByte(ref[start:], ':')
	if i < 0 || strings.Contains(ref[start+i:], "/") {
		return ref, "latest"
	}
	return ref[:start+i], ref[start+i+1:]
}

func newImageListCommand() *cobra.Command {
	var o output
	var app string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the images of the account and whether they are approved",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			id := ""
			if app != "" {
				a, err := c.App(cmd.Context(), app)
				if err != nil {
					return err
				}
				id = a.AppID
			}
			builds, err := client.All[wire.Build](cmd.Context(), c, "/v1/builds")
			if err != nil {
				return err
			}
			kept := slices.DeleteFunc(builds, func(b wire.Build) bool { return id != "" && b.AppID != id })
			return o.print(cmd, kept, func(w io.Writer) {
				fmt.Fprintln(w, "APPLICATION\tIMAGE\tID\tAPPROVAL\tMEASUREMENT\tSVN")
				for _, b := range kept {
					m, svn := "-", int32(0)
					if b.EnclaveInfo != nil {
						m, svn = b.EnclaveInfo.MREnclave, b.EnclaveInfo.ISVSVN
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\n", b.AppName, client.BuildName(b), b.BuildID, b.Status.Status, m, svn)
				}
			})
		},
	}
	cmd.Flags().StringVar(&app, "app", "", "only of this application (`name` or id)")
	o.flag(cmd)
	return cmd
}

func newImageShowCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "show NAME:TAG|ID|MEASUREMENT",
		Short: "Show an image, its measurement and where it runs",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			b, err := c.Build(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			runs, err := client.All[wire.AppNodeInfo](cmd.Context(), c, "/v1/builds/deployments/"+b.BuildID)
			if err != nil {
				return err
			}
			type shown struct {
				wire.Build
				Deployments []wire.AppNodeInfo `json:"deployments"`
			}
			return o.print(cmd, shown{b, runs}, func(w io.Writer) {
				fmt.Fprintf(w, "image\t%s\nid\t%s\napplication\t%s\napproval\t%s since %s\n", client.BuildName(b), b.BuildID, b.AppName, b.Status.Status, day(b.Status.StatusUpdatedAt))
				if e := b.EnclaveInfo; e != nil {
					fmt.Fprintf(w, "measurement\t%s\nsigner\t%s\nproduct id, SVN\t%d, %d\n", e.MREnclave, e.MRSigner, e.ISVProdID, e.ISVSVN)
				}
				if b.PendingTaskID != "" {
					fmt.Fprintf(w, "waits\ttask %s\n", b.PendingTaskID)
				}
				for _, r := range runs {
					state := "-"
					if r.Status != nil {
						state = r.Status.Status
					}
					fmt.Fprintf(w, "runs on\t%s\t%s\n", or(r.NodeName), state)
				}
			})
		},
	}
	o.flag(cmd)
	return cmd
}

func newImageWithdrawCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "withdraw NAME:TAG|ID|MEASUREMENT",
		Short: "Withdraw the approval of an image: no new certificates, those issued are revoked",
		Long: `Withdraw the approval of an image. Its certificates go onto the zone's revocation
list at once and no new ones are issued. A program that runs keeps its
certificate until that ends, 24 hours at most by default, for clients that do not read the list.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			b, err := c.Build(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			if b, err = client.Post[wire.Build](cmd.Context(), c, "/v1/builds/"+b.BuildID+"/withdraw", nil); err != nil {
				return fmt.Errorf("withdraw the approval of %s: %w", a[0], err)
			}
			return o.print(cmd, b, func(w io.Writer) {
				fmt.Fprintf(w, "Image %s: %s.\n", client.BuildName(b), b.Status.Status)
			})
		},
	}
	o.flag(cmd)
	return cmd
}

func newImageDeleteCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "delete NAME:TAG|ID|MEASUREMENT",
		Short: "Delete an image from the account; its certificates are revoked",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			b, err := c.Build(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			if err := c.Call(cmd.Context(), http.MethodDelete, "/v1/builds/"+b.BuildID, nil, nil); err != nil {
				return fmt.Errorf("delete image %s: %w", client.BuildName(b), err)
			}
			return o.done(cmd, b, "Image %s deleted.", client.BuildName(b))
		},
	}
	o.flag(cmd)
	return cmd
}
