package manager

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

func ptr[T any](v T) *T { return &v }

func TestAppRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.app("flask")
	cases := map[string]struct {
		r    wire.AppRequest
		code string
	}{
		"no name":            {wire.AppRequest{}, CodeInvalidName},
		"control characters": {wire.AppRequest{Name: "a\x00b"}, CodeInvalidName},
		"taken name":         {wire.AppRequest{Name: " FLASK "}, CodeUnique},
		"isvprodid":          {wire.AppRequest{Name: "a", ISVProdID: ptr[int32](65536)}, CodeInvalidValue},
		"isvsvn":             {wire.AppRequest{Name: "a", ISVSVN: ptr[int32](-1)}, CodeInvalidValue},
		"memory":             {wire.AppRequest{Name: "a", MemSize: ptr[int64](0)}, CodeInvalidValue},
		"threads":            {wire.AppRequest{Name: "a", Threads: ptr[int32](0)}, CodeInvalidValue},
		"wildcard":           {wire.AppRequest{Name: "a", AllowedDomains: []string{"*.example"}}, CodeInvalidName},
		"address":            {wire.AppRequest{Name: "a", AllowedDomains: []string{"192.0.2.1"}}, CodeInvalidName},
		"signer":             {wire.AppRequest{Name: "a", Signers: []wire.ApplicationSigner{{SGX: &wire.SGXSigner{MRSigner: "zz"}}}}, CodeInvalidValue},
		"label":              {wire.AppRequest{Name: "a", Labels: map[string]string{"": "x"}}, CodeInvalidValue},
		"long description":   {wire.AppRequest{Name: "a", Description: strings.Repeat("x", 5000)}, CodeInvalidValue},
	}
	for name, c := range cases {
		_, err := w.m.CreateApp(t.Context(), w.admin, c.r)
		refused(t, name, err, Invalid, c.code)
	}
	reader := w.member("r@example.org", "READER")
	_, err := w.m.CreateApp(t.Context(), reader, wire.AppRequest{Name: "b"})
	refused(t, "READER", err, Forbidden, CodeForbidden)
	_, err = w.m.CreateApp(t.Context(), Actor{UserID: w.admin.UserID}, wire.AppRequest{Name: "b"})
	refused(t, "no account", err, Forbidden, CodeNoAccount)
}

func TestQuotas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.Quotas = Quotas{AccountsPerUser: 1, AppsPerAccount: 1, BuildsPerApp: 1, UsersPerAccount: 1, TokensPerUser: 1}
	})
	ctx := t.Context()
	app := w.app("flask")
	_, err := w.m.CreateApp(ctx, w.admin, wire.AppRequest{Name: "second"})
	refused(t, "second application", err, Forbidden, CodeQuota)
	w.build(app, 1)
	_, err = w.m.CreateBuild(ctx, w.admin, buildOf(app, 2))
	refused(t, "second build", err, Forbidden, CodeQuota)
	_, err = w.m.CreateAccount(ctx, w.admin, wire.AccountRequest{Name: "second"})
	refused(t, "second account", err, Forbidden, CodeQuota)
	_, err = w.m.Invite(ctx, w.admin, wire.Invite{UserEmail: "x@example.org", Roles: []string{"READER"}})
	refused(t, "second member", err, Forbidden, CodeQuota)
	_, err = w.m.CreateAPIToken(ctx, w.admin, wire.APITokenRequest{Name: "one"})
	w.must(err)
	_, err = w.m.CreateAPIToken(ctx, w.admin, wire.APITokenRequest{Name: "two"})
	refused(t, "second token", err, Forbidden, CodeQuota)
}

func TestDomains(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	app := w.app("flask", "a.example")
	ask := func(app *wire.App, names ...string) (*wire.App, error) {
		return w.m.UpdateApp(ctx, w.admin, app.AppID, wire.AppUpdate{AllowedDomains: &names})
	}
	_, err := ask(app, "b.example")
	refused(t, "second change while one is pending", err, Invalid, CodeInvalidState)
	_, err = ask(app, "a.example")
	w.must(err) // the same names again
	other := w.app("other", "a.example")
	w.must(w.approve(w.admin, app.PendingTaskID))
	refused(t, "domain approved for two", w.approve(w.admin, other.PendingTaskID), Invalid, CodeUnique)
	_, err = w.m.CreateApp(ctx, w.admin, wire.AppRequest{Name: "third", AllowedDomains: []string{"a.example"}})
	refused(t, "domain of another application", err, Invalid, CodeUnique)

	// A test-only zone may name what is approved and nothing else.
	permitted := func() []string {
		zones, err := w.m.Zones(ctx, w.admin)
		w.must(err)
		certs, err := ca.ParsePEM(zones[0].Certificate)
		w.must(err)
		return certs[0].PermittedDNSDomains
	}
	if !slices.Equal(permitted(), []string{"a.example"}) {
		t.Errorf("the zone permits %v", permitted())
	}
	changed, err := ask(app, "c.example")
	w.must(err)
	if !slices.Equal(changed.DomainsAdded, []string{"c.example"}) || !slices.Equal(changed.DomainsRemoved, []string{"a.example"}) || !slices.Equal(changed.WhitelistedDomains, []string{"a.example"}) {
		t.Errorf("pending change %+v", changed)
	}
	task, err := w.m.Task(ctx, w.admin, changed.PendingTaskID)
	w.must(err)
	if !slices.Equal(task.DomainsAdded, []string{"c.example"}) || !slices.Equal(task.DomainsRemoved, []string{"a.example"}) {
		t.Errorf("task %+v", task)
	}
	w.must(w.approve(w.admin, changed.PendingTaskID))
	if !slices.Equal(permitted(), []string{"c.example"}) {
		t.Errorf("the zone permits %v", permitted())
	}
	w.must(w.approve(w.admin, other.PendingTaskID)) // now it is free

	changed, err = ask(app, "d.example")
	w.must(err)
	_, err = w.m.UpdateTask(ctx, w.admin, changed.PendingTaskID, wire.TaskUpdate{Status: store.Denied})
	w.must(err)
	changed, err = w.m.App(ctx, w.admin, app.AppID)
	w.must(err)
	if !slices.Equal(changed.AllowedDomains, []string{"c.example"}) || changed.PendingTaskID != "" {
		t.Errorf("after a refusal %+v", changed)
	}
}

func TestUpdateAndDeleteApp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	app := w.app("flask", "a.example")
	b := w.build(app, 1)
	w.must(w.approve(w.admin, b.PendingTaskID))
	up, err := w.m.UpdateApp(ctx, w.admin, app.AppID, wire.AppUpdate{
		ISVSVN: ptr[int32](7), Labels: []wire.PatchOp{{Op: "add", Path: "/gpu~1kind", Value: "a~b"}, {Op: "add", Path: "/x", Value: "1"}, {Op: "remove", Path: "/x"}},
		AdvancedSettings: &wire.AdvancedSettings{RWDirs: []string{"/data"}},
	})
	w.must(err)
	if up.ISVSVN != 7 || len(up.Labels) != 1 || up.Labels["gpu/kind"] != "a~b" || up.AdvancedSettings.RWDirs[0] != "/data" {
		t.Errorf("application %+v", up)
	}
	for _, op := range []wire.PatchOp{{Op: "remove", Path: "/none"}, {Op: "move", Path: "/gpu~1kind"}, {Op: "add", Path: "x", Value: "1"}, {Op: "add", Path: "/x", Value: 1.0}} {
		_, err := w.m.UpdateApp(ctx, w.admin, app.AppID, wire.AppUpdate{Labels: []wire.PatchOp{op}})
		refused(t, fmt.Sprintf("patch %+v", op), err, Invalid, CodeInvalidValue)
	}
	counts, err := w.m.AppLabels(ctx, w.admin)
	w.must(err)
	if len(counts) != 1 || counts[0] != (LabelCount{"gpu/kind", "a~b", 1}) {
		t.Errorf("labels %+v", counts)
	}
	certificate := w.certificate(app, b)
	w.must(w.m.DeleteApp(ctx, w.admin, app.AppID))
	_, err = w.m.Build(ctx, w.admin, b.BuildID)
	refused(t, "build of a deleted application", err, NotFound, CodeNotFound)
	task, err := w.m.Task(ctx, w.admin, app.PendingTaskID)
	w.must(err)
	if task.Status.Status != store.TaskFailed {
		t.Errorf("task of a deleted application is %s", task.Status.Status)
	}
	if s := w.certificateStatus(certificate); s != store.CertificateRevoked {
		t.Errorf("certificate of a deleted application is %s", s)
	}
	w.build(w.app("flask", "a.example"), 1) // name, domain and measurement are free again
}

// certificate stores an issued certificate of a build.
func (w *world) certificate(app *wire.App, b *wire.Build) string {
	w.t.Helper()
	ctx := w.t.Context()
	id, err := w.m.newID()
	w.must(err)
	now := w.m.now()
	w.must(w.m.update(ctx, func(tx *store.Tx) error {
		c := &store.Certificate{ID: id, AccountID: w.account, Kind: store.CertificateApp, Status: store.CertificateIssued, AppID: app.AppID, BuildID: b.BuildID, NotBefore: now, NotAfter: now.Add(1e12), CreatedAt: now}
		return errors.Join(tx.Certificates().Insert(ctx, c), tx.PutDeployment(ctx, &store.Deployment{AccountID: w.account, ID: b.BuildID + "/n", AppID: app.AppID, BuildID: b.BuildID, NodeID: "n", CertificateID: id, Status: store.AppRunning}), tx.Audit(ctx, w.admin.event("CERTIFICATE_ISSUED", "CERTIFICATE", "test")))
	}))
	return id
}

func (w *world) certificateStatus(id string) (status string) {
	w.t.Helper()
	w.must(w.m.view(w.t.Context(), func(tx *store.Tx) error {
		c, err := tx.Certificates().Get(w.t.Context(), w.account, id)
		if err == nil {
			status = c.Status
		}
		return err
	}))
	return status
}

func TestBuilds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	app, other := w.app("flask"), w.app("other")
	r := buildOf(app, 1)
	r.DockerInfo = &wire.DockerInfo{DockerImageName: "r.example/web", DockerVersion: "v1", DockerImageSHA: "sha256:00"}
	b, err := w.m.CreateBuild(ctx, w.admin, r)
	w.must(err)
	again := buildOf(other, 1)
	again.MREnclave = strings.ToUpper(again.MREnclave)
	_, err = w.m.CreateBuild(ctx, w.admin, again)
	refused(t, "same measurement", err, Invalid, CodeUnique)
	if err == nil || !strings.Contains(err.Error(), b.BuildID) {
		t.Errorf("the refusal does not name the other build: %v", err)
	}
	sim := wire.BuildRequest{AppName: "other", MRSigner: measurement(0), Attributes: map[string]wire.BuildAttributes{"simulated": {Simulated: &wire.SimulatedAttributes{Measurement: measurement(2)}}}}
	second, err := w.m.CreateBuild(ctx, w.admin, sim)
	w.must(err)
	if second.EnclaveInfo.MREnclave != measurement(2) || second.Attributes["simulated"].Simulated.Measurement != measurement(2) || second.AppID != other.AppID {
		t.Errorf("build %+v", second)
	}
	bad := map[string]struct {
		change func(*wire.BuildRequest)
		kind   Kind
		code   string
	}{
		"short measurement":   {func(r *wire.BuildRequest) { r.MREnclave = "00" }, Invalid, CodeInvalidValue},
		"no measurement":      {func(r *wire.BuildRequest) { r.MREnclave = "" }, Invalid, CodeMissing},
		"no signer":           {func(r *wire.BuildRequest) { r.MRSigner = "" }, Invalid, CodeInvalidValue},
		"no application":      {func(r *wire.BuildRequest) { r.AppID = "" }, Invalid, CodeMissing},
		"unknown application": {func(r *wire.BuildRequest) { r.AppID = app.AppID[:35] + "x" }, NotFound, CodeNotFound},
		"isvsvn":              {func(r *wire.BuildRequest) { r.ISVSVN = 70000 }, Invalid, CodeInvalidValue},
		"other TEE":           {func(r *wire.BuildRequest) { r.Attributes = map[string]wire.BuildAttributes{"nitro_enclave": {}} }, Unsupported, CodeNotSupported},
	}
	for name, c := range bad {
		r := buildOf(app, 3)
		c.change(&r)
		_, err := w.m.CreateBuild(ctx, w.admin, r)
		refused(t, name, err, c.kind, c.code)
	}
	w.certificate(app, b)
	lists := map[string]struct {
		l    ListOptions
		f    BuildFilter
		want int
	}{
		"all":          {ListOptions{}, BuildFilter{}, 2},
		"by image":     {ListOptions{}, BuildFilter{ImageName: "WEB"}, 1},
		"by output":    {ListOptions{}, BuildFilter{ImageName: "r.example/out"}, 2},
		"pending":      {ListOptions{}, BuildFilter{Status: store.BuildPending}, 2},
		"approved":     {ListOptions{}, BuildFilter{Status: store.BuildWhitelisted}, 0},
		"deployed":     {ListOptions{}, BuildFilter{DeployedStatus: "DEPLOYED"}, 1},
		"undeployed":   {ListOptions{}, BuildFilter{DeployedStatus: "UNDEPLOYED"}, 1},
		"by app":       {ListOptions{AllSearch: "flask"}, BuildFilter{}, 1},
		"measurement":  {ListOptions{AllSearch: measurement(2)[:20]}, BuildFilter{}, 1},
		"page":         {ListOptions{Limit: 1, Offset: 1}, BuildFilter{}, 1},
		"of one app":   {ListOptions{}, BuildFilter{AppID: other.AppID}, 1},
		"with configs": {ListOptions{}, BuildFilter{ConfigID: "none"}, 0},
	}
	for name, c := range lists {
		got, err := w.m.Builds(ctx, w.admin, c.l, c.f)
		w.must(err)
		if len(got.Items) != c.want || got.Metadata.TotalCount != 2 {
			t.Errorf("%s: %d builds of %d, wanted %d", name, len(got.Items), got.Metadata.TotalCount, c.want)
		}
	}
	at, err := w.m.Deployments(ctx, w.admin, b.BuildID, ListOptions{}, "")
	w.must(err)
	if len(at.Items) != 1 || at.Items[0].BuildInfo.BuildID != b.BuildID {
		t.Errorf("deployments %+v", at)
	}

	// Another account neither sees the build nor is in its way, but has no simulated TEE.
	plain, err := w.m.CreateAccount(ctx, w.admin, wire.AccountRequest{Name: "plain"})
	w.must(err)
	a := w.selectAccount(w.admin, plain.AcctID)
	foreign, err := w.m.CreateApp(ctx, a, wire.AppRequest{Name: "flask"})
	w.must(err)
	_, err = w.m.CreateBuild(ctx, a, buildOf(foreign, 1))
	w.must(err)
	sim.AppName = "flask"
	_, err = w.m.CreateBuild(ctx, a, sim)
	refused(t, "simulated build outside a test-only account", err, Invalid, CodeInvalidValue)
	_, err = w.m.SimulatedRoot(ctx, a, plain.AcctID)
	refused(t, "simulated root of such an account", err, NotFound, CodeNotFound)
	_, err = w.m.SimulatedCollateral(ctx, a, plain.AcctID)
	refused(t, "simulated collateral of such an account", err, NotFound, CodeNotFound)

	a = w.selectAccount(w.admin, w.account)
	w.must(w.m.DeleteBuild(ctx, a, b.BuildID))
	_, err = w.m.CreateBuild(ctx, a, buildOf(other, 1))
	w.must(err)
}

func FuzzListOptions(f *testing.F) {
	for _, s := range []string{"", "name:ASC", "name:DESC,created_at", "name:UP", "mac:ASC", ",,", "name;--", "name:ASC:DESC"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sort string) {
		q, err := ListOptions{SortBy: sort}.query(columns{"name": "n", "created_at": "c"}, nil)
		if err != nil {
			return
		}
		for _, o := range q.Sort {
			if o.Column != "n" && o.Column != "c" {
				t.Errorf("%q sorts by %q", sort, o.Column)
			}
		}
	})
}

func FuzzPatchMap(f *testing.F) {
	f.Add("add", "/a~1b", "v")
	f.Add("remove", "/k", "")
	f.Add("replace", "/", "v")
	f.Fuzz(func(t *testing.T, op, path, value string) {
		old := map[string]string{"k": "v"}
		next, err := patchMap("labels", old, []wire.PatchOp{{Op: op, Path: path, Value: value}})
		if len(old) != 1 || old["k"] != "v" {
			t.Error("the old labels changed")
		}
		if err == nil && checkLabels("labels", next) != nil {
			t.Errorf("%s %q %q made labels that are refused", op, path, value)
		}
	})
}
