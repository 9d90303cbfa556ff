package api

import (
	"context"
	"net/http"

	"hitoku.dev/internal/manager"
	"hitoku.dev/internal/wire"
)

func (s *Server) apps() {
	const tag = "apps"
	register(s, operation{method: http.MethodGet, path: "/v1/apps", class: userAuth, tag: tag, summary: "Applications of the account"},
		func(ctx context.Context, c caller, in *struct {
			Listing
			Name        string `query:"name"`
			Description string `query:"description"`
		},
		) (*body[wire.List[wire.App]], error) {
			return reply(s.m.Apps(ctx, c.actor, in.options(), manager.AppFilter{Name: in.Name, Description: in.Description}))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/apps", class: userAuth, tag: tag, summary: "Create an application"},
		func(ctx context.Context, c caller, in *body[wire.AppRequest]) (*body[wire.App], error) {
			return reply(s.m.CreateApp(ctx, c.actor, in.Body))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/apps/{id}", class: userAuth, tag: tag, summary: "An application"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.App], error) {
			return reply(s.m.App(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodPatch, path: "/v1/apps/{id}", class: userAuth, tag: tag, summary: "Change an application; new domains need an approval"},
		func(ctx context.Context, c caller, in *withID[wire.AppUpdate]) (*body[wire.App], error) {
			return reply(s.m.UpdateApp(ctx, c.actor, in.ID, in.Body))
		})
	register(s, operation{method: http.MethodDelete, path: "/v1/apps/{id}", class: userAuth, status: http.StatusNoContent, tag: tag, summary: "Delete an application with its builds"},
		func(ctx context.Context, c caller, in *ByID) (*none, error) {
			return done(s.m.DeleteApp(ctx, c.actor, in.ID))
		})
}

func (s *Server) builds() {
	const tag = "builds"
	register(s, operation{method: http.MethodGet, path: "/v1/builds", class: userAuth, tag: tag, summary: "Builds of the account"},
		func(ctx context.Context, c caller, in *struct {
			Listing
			ImageName string `query:"docker_image_name"`
			Status    string `query:"status"`
			Deployed  string `query:"deployed_status"`
		},
		) (*body[wire.List[wire.Build]], error) {
			return reply(s.m.Builds(ctx, c.actor, in.options(), manager.BuildFilter{ImageName: in.ImageName, Status: in.Status, DeployedStatus: in.Deployed}))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/builds", class: userAuth, tag: tag, summary: "Register a build by its measurement"},
		func(ctx context.Context, c caller, in *body[wire.BuildRequest]) (*body[wire.Build], error) {
			return reply(s.m.CreateBuild(ctx, c.actor, in.Body))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/builds/convert-app", class: userAuth, tag: tag, summary: "Convert an application's image and register the build"},
		func(ctx context.Context, c caller, in *body[wire.ConvertRequest]) (*body[wire.Build], error) {
			return reply(s.m.ConvertApp(ctx, c.actor, in.Body))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/builds/{id}", class: userAuth, tag: tag, summary: "A build"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.Build], error) {
			return reply(s.m.Build(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodPatch, path: "/v1/builds/{id}", class: userAuth, tag: tag, summary: "Change the configurations of a build"},
		func(ctx context.Context, c caller, in *withID[wire.BuildUpdate]) (*body[wire.Build], error) {
			return reply(s.m.UpdateBuild(ctx, c.actor, in.ID, in.Body))
		})
	register(s, operation{method: http.MethodDelete, path: "/v1/builds/{id}", class: userAuth, status: http.StatusNoContent, tag: tag, summary: "Delete a build; its certificates are revoked"},
		func(ctx context.Context, c caller, in *ByID) (*none, error) {
			return done(s.m.DeleteBuild(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/builds/{id}/withdraw", class: userAuth, tag: tag, summary: "Withdraw the approval of a build (extension)"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.Build], error) {
			return reply(s.m.WithdrawBuild(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/builds/deployments/{id}", class: userAuth, tag: tag, summary: "Where a build runs"},
		func(ctx context.Context, c caller, in *struct {
			Listing
			ID     string `path:"id" maxLength:"64"`
			Status string `query:"status"`
		},
		) (*body[wire.List[wire.AppNodeInfo]], error) {
			return reply(s.m.Deployments(ctx, c.actor, in.ID, in.options(), in.Status))
		})
}

func (s *Server) tasks() {
	const tag = "tasks"
	register(s, operation{method: http.MethodGet, path: "/v1/tasks", class: userAuth, tag: tag, summary: "Approvals of the account"},
		func(ctx context.Context, c caller, in *struct {
			Listing
			Type      string `query:"task_type"`
			Status    string `query:"status" doc:"PENDING or CLOSED"`
			Requester string `query:"requester"`
			Approver  string `query:"approver"`
		},
		) (*body[wire.List[wire.Task]], error) {
			return reply(s.m.Tasks(ctx, c.actor, in.options(), manager.TaskFilter{Type: in.Type, Status: in.Status, Requester: in.Requester, Approver: in.Approver}))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/tasks/{id}", class: userAuth, tag: tag, summary: "A task"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.Task], error) {
			return reply(s.m.Task(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodPatch, path: "/v1/tasks/{id}", class: userAuth, tag: tag, summary: "Approve or deny a task"},
		func(ctx context.Context, c caller, in *withID[wire.TaskUpdate]) (*body[wire.TaskResult], error) {
			return reply(s.m.UpdateTask(ctx, c.actor, in.ID, in.Body))
		})
	register(s, operation{method: http.MethodDelete, path: "/v1/tasks/{id}", class: userAuth, status: http.StatusNoContent, tag: tag, summary: "Delete a task"},
		func(ctx context.Context, c caller, in *ByID) (*none, error) {
			return done(s.m.DeleteTask(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/tasks/status/{id}", class: noAuth, tag: tag, summary: "The status of a task, for programs that wait for it"},
		func(ctx context.Context, _ caller, in *ByID) (*body[wire.TaskResult], error) {
			return reply(s.m.TaskStatus(ctx, in.ID))
		})
}
