/*
 * rsvd-sg: run a program that has an RSVD disk as its SG_IO device
 *
 * Attaches the disk once for each path, and loads a library into the program
 * that sends what the program does with /dev/rsvdN here, by a socket. So the
 * program keeps its nexus for all its commands and children, and has neither
 * Samba's libraries in it nor credentials.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "includes.h"
#include "system/wait.h"
#include "auth/credentials/credentials.h"
#include "lib/cmdline/cmdline.h"
#include "lib/util/sys_rw.h"
#include "source3/librsvd/librsvd.h"
#include "source3/rsvd_sg/rsvd_sg.h"
#include "source3/rsvd_sg/rsvd_sg_serve.h"
#include "source3/rsvd_sg/rsvd_sg_wire.h"
#include "source3/utils/rsvdctl_machine.h"
#include <popt.h>
#include <sys/un.h>

/* As env(1) and others have it */
#define EXIT_RSVD_SG_FAILED 125
#define EXIT_CANNOT_RUN 126
#define EXIT_NOT_FOUND 127

/* A SANITIZE may take long; how long is for the program to know. */
#define SCSI_TIMEOUT_MSEC (3600 * 1000)

static struct {
	int port;
} rsvd_sg_opts;

struct rsvd_sg {
	TALLOC_CTX *mem_ctx;
	struct tevent_context *ev;
	struct rsvd_sg_path paths[RSVD_SG_MAX_PATHS];
	size_t num_paths;
	char *directory;	/* of the socket, ours alone */
	char *socket;
	int listener;
	pid_t child;
	int start;		/* what the child waits for */
	bool ended;
	int wait_status;
};

static void PRINTF_ATTRIBUTE(1, 2) rsvd_sg_error(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "rsvd-sg: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
}

/*
 * Targets: //server/share/path[,setting=value...]
 */

struct rsvd_sg_target {
	char *name;		/* without the settings */
	char *server, *share, *path;
	char *user, *password, *host_name;
	struct librsvd_guid initiator_id;
	int port;
};

static bool rsvd_sg_setting(struct rsvd_sg_target *target, const char *name,
			    char *value)
{
	if (strcmp(name, "user") == 0) {
		target->user = value;
		return true;
	}
	if (strcmp(name, "password") == 0) {
		target->password = value;
		return true;
	}
	if (strcmp(name, "initiator-host-name") == 0) {
		target->host_name = value;
		return true;
	}
	if (strcmp(name, "initiator-id") == 0) {
		if (strcmp(value, "random") == 0) {
			target->initiator_id = librsvd_guid_random();
			return true;
		}
		if (!librsvd_guid_parse(value, &target->initiator_id)) {
			rsvd_sg_error("initiator-id is no GUID: %s", value);
			return false;
		}
		return true;
	}
	if (strcmp(name, "port") == 0) {
		char *end = NULL;

		target->port = strtol(value, &end, 10);
		if (end == value || *end != '\0') {
			rsvd_sg_error("no such port: %s", value);
			return false;
		}
		return true;
	}
	rsvd_sg_error("no such setting of a disk: %s", name);
	return false;
}

static bool rsvd_sg_target_split(struct rsvd_sg_target *target)
{
	char *p = NULL;

	string_replace(target->name, '\\', '/');
	if (strncmp(target->name, "//", 2) != 0) {
		return false;
	}
	target->server = talloc_strdup(target, target->name + 2);
	if (target->server == NULL) {
		return false;
	}
	p = strchr(target->server, '/');
	if (p == NULL) {
		return false;
	}
	*p = '\0';
	target->share = p + 1;
	p = strchr(target->share, '/');
	if (p == NULL) {
		return false;
	}
	*p = '\0';
	target->path = p + 1;
	return *target->server != '\0' && *target->share != '\0' &&
	       *target->path != '\0';
}

static struct rsvd_sg_target *rsvd_sg_target_parse(TALLOC_CTX *mem_ctx,
						   const char *text,
						   unsigned int number)
{
	struct rsvd_sg_target *target = NULL;
	char *settings = NULL, *next = NULL, *saveptr = NULL;

	target = talloc_zero(mem_ctx, struct rsvd_sg_target);
	if (target == NULL) {
		return NULL;
	}
	target->name = talloc_strdup(target, text);
	if (target->name == NULL) {
		return NULL;
	}
	target->port = rsvd_sg_opts.port;
	if (!rsvdctl_machine_guid(number, &target->initiator_id)) {
		target->initiator_id = librsvd_guid_random();
	}

	settings = strchrnul(target->name, ',');
	if (*settings != '\0') {
		*settings++ = '\0';
	}
	for (next = strtok_r(settings, ",", &saveptr); next != NULL;
	     next = strtok_r(NULL, ",", &saveptr)) {
		char *value = strchr(next, '=');

		if (value == NULL) {
			rsvd_sg_error("setting without value: %s", next);
			return NULL;
		}
		*value++ = '\0';
		if (!rsvd_sg_setting(target, next, value)) {
			return NULL;
		}
	}

	if (!rsvd_sg_target_split(target)) {
		rsvd_sg_error("not of the form //server/share/path: %s",
			      target->name);
		return NULL;
	}
	if (target->password != NULL && target->user == NULL) {
		rsvd_sg_error("a password needs a user");
		return NULL;
	}
	if (target->port < 0 || target->port > UINT16_MAX) {
		rsvd_sg_error("no such port: %d", target->port);
		return NULL;
	}
	return target;
}

/* Those of the options; a user of its own has the rest of them. */
static struct cli_credentials *rsvd_sg_credentials(
	struct rsvd_sg_target *target)
{
	struct cli_credentials *common = samba_cmdline_get_creds();
	struct cli_credentials *creds = NULL;
	const char *password = target->password;

	if (target->user == NULL) {
		return common;
	}
	creds = cli_credentials_init(target);
	if (creds == NULL) {
		return NULL;
	}
	cli_credentials_set_conf(creds, samba_cmdline_get_lp_ctx());
	cli_credentials_set_kerberos_state(
		creds, cli_credentials_get_kerberos_state(common),
		CRED_SPECIFIED);
	cli_credentials_set_smb_signing(
		creds, cli_credentials_get_smb_signing(common),
		CRED_SPECIFIED);
	cli_credentials_set_smb_encryption(
		creds, cli_credentials_get_smb_encryption(common),
		CRED_SPECIFIED);
	if (password == NULL && strchr(target->user, '%') == NULL) {
		/* Out of the environment or a file, or asked for */
		password = cli_credentials_get_password(common);
	}
	cli_credentials_parse_string(creds, target->user, CRED_SPECIFIED);
	if (password != NULL) {
		cli_credentials_set_password(creds, password, CRED_SPECIFIED);
	}
	return creds;
}

static NTSTATUS rsvd_sg_open(struct rsvd_sg_path *path, TALLOC_CTX *mem_ctx,
			     const struct rsvd_sg_target *target)
{
	struct librsvd_open_params params = {
		.path = target->path,
		.initiator_id = &target->initiator_id,
		.host_name = target->host_name,
		/* The reservations say who may write, not SMB. */
		.share_access = FILE_SHARE_READ | FILE_SHARE_WRITE |
				FILE_SHARE_DELETE,
	};
	NTSTATUS status;

	status = librsvd_open(mem_ctx, path->conn, &params, &path->disk);
	if (!NT_STATUS_EQUAL(status, NT_STATUS_ACCESS_DENIED)) {
		return status;
	}
	/* To one who may only read, it is a write-protected disk. */
	params.access_mask = SEC_FILE_READ_DATA | SEC_FILE_READ_ATTRIBUTE |
			     SEC_STD_SYNCHRONIZE;
	return librsvd_open(mem_ctx, path->conn, &params, &path->disk);
}

static bool rsvd_sg_attach(struct rsvd_sg *sg, struct rsvd_sg_target *target)
{
	struct rsvd_sg_path *path = &sg->paths[sg->num_paths];
	struct librsvd_connect_params params = {
		.server = target->server,
		.share = target->share,
		.port = target->port,
		.credentials = rsvd_sg_credentials(target),
		.timeout_msec = SCSI_TIMEOUT_MSEC,
	};
	NTSTATUS status;

	if (params.credentials == NULL) {
		rsvd_sg_error("out of memory");
		return false;
	}
	path->name = target->name;
	status = librsvd_connect(sg->mem_ctx, sg->ev, &params, &path->conn);
	if (!NT_STATUS_IS_OK(status)) {
		rsvd_sg_error("cannot connect to //%s/%s: %s", target->server,
			      target->share,
			      librsvd_status_string(sg->mem_ctx, status));
		return false;
	}
	status = rsvd_sg_open(path, sg->mem_ctx, target);
	if (!NT_STATUS_IS_OK(status)) {
		rsvd_sg_error("cannot open %s: %s", target->name,
			      librsvd_status_string(sg->mem_ctx, status));
		return false;
	}
	sg->num_paths += 1;
	return true;
}

/*
 * The socket
 */

static void rsvd_sg_served(struct tevent_req *req)
{
	/* That a program went away in the middle is its own affair. */
	rsvd_sg_serve_recv(req);
	TALLOC_FREE(req);
}

static void rsvd_sg_accept(struct tevent_context *ev, struct tevent_fd *fde,
			   uint16_t flags, void *private_data)
{
	struct rsvd_sg *sg = private_data;
	struct tevent_req *req = NULL;
	int fd;

	fd = accept4(sg->listener, NULL, NULL,
		     SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd == -1) {
		return;
	}
	req = rsvd_sg_serve_send(sg->mem_ctx, ev, sg->paths, sg->num_paths,
				 fd);
	if (req != NULL) {
		tevent_req_set_callback(req, rsvd_sg_served, NULL);
	}
}

static bool rsvd_sg_listen(struct rsvd_sg *sg)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *tmp = getenv("TMPDIR");
	struct tevent_fd *fde = NULL;

	sg->directory = talloc_asprintf(sg->mem_ctx, "%s/rsvd-sg.XXXXXX",
					tmp != NULL ? tmp : "/tmp");
	if (sg->directory == NULL) {
		return false;
	}
	if (mkdtemp(sg->directory) == NULL) {
		rsvd_sg_error("cannot make %s: %s", sg->directory,
			      strerror(errno));
		TALLOC_FREE(sg->directory);
		return false;
	}
	sg->socket = talloc_asprintf(sg->mem_ctx, "%s/sg", sg->directory);
	if (sg->socket == NULL) {
		return false;
	}
	if (strlen(sg->socket) >= sizeof(addr.sun_path)) {
		rsvd_sg_error("the path of a socket has to be shorter: %s",
			      sg->socket);
		return false;
	}

	memcpy(addr.sun_path, sg->socket, strlen(sg->socket));

	sg->listener = socket(AF_UNIX,
			      SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sg->listener == -1 ||
	    bind(sg->listener, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
	    listen(sg->listener, 64) != 0) {
		rsvd_sg_error("cannot listen on %s: %s", sg->socket,
			      strerror(errno));
		return false;
	}
	fde = tevent_add_fd(sg->ev, sg->mem_ctx, sg->listener, TEVENT_FD_READ,
			    rsvd_sg_accept, sg);
	return fde != NULL;
}

static void rsvd_sg_remove_socket(struct rsvd_sg *sg)
{
	if (sg->directory == NULL) {
		return;
	}
	if (sg->socket != NULL) {
		unlink(sg->socket);
	}
	rmdir(sg->directory);
}

/*
 * The program
 */

/* Where it is from this program, as it was built and as it is installed */
static char *rsvd_sg_library(TALLOC_CTX *mem_ctx)
{
	static const char *const places[] = {
		"../lib/rsvd_sg.so",
		RSVD_SG_LIBRARY,
	};
	char self[PATH_MAX] = "";
	char *slash = NULL;
	size_t i;

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) == -1) {
		return NULL;
	}
	slash = strrchr(self, '/');
	if (slash == NULL) {
		return NULL;
	}
	*slash = '\0';
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		char *library = talloc_asprintf(mem_ctx, "%s/%s", self,
						places[i]);

		if (library != NULL && access(library, R_OK) == 0) {
			return library;
		}
		TALLOC_FREE(library);
	}
	return NULL;
}

static void rsvd_sg_execute(struct rsvd_sg *sg, unsigned int num_paths,
			    char **command)
{
	char number[] = { '0' + num_paths, '\0' };
	const char *preload = getenv("LD_PRELOAD");
	char *library = rsvd_sg_library(sg->mem_ctx);
	char *all = NULL;

	if (library == NULL) {
		rsvd_sg_error("cannot find %s", RSVD_SG_LIBRARY);
		_exit(EXIT_RSVD_SG_FAILED);
	}
	all = talloc_asprintf(sg->mem_ctx, "%s%s%s", library,
			      preload != NULL ? ":" : "",
			      preload != NULL ? preload : "");
	if (all == NULL ||
	    setenv("LD_PRELOAD", all, 1) != 0 ||
	    setenv(RSVD_SG_SOCKET, sg->socket, 1) != 0 ||
	    setenv(RSVD_SG_PATHS, number, 1) != 0) {
		rsvd_sg_error("out of memory");
		_exit(EXIT_RSVD_SG_FAILED);
	}

	execvp(command[0], command);
	rsvd_sg_error("cannot run %s: %s", command[0], strerror(errno));
	_exit(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN);
}

static void rsvd_sg_child_ended(struct tevent_context *ev,
				struct tevent_signal *se, int signum,
				int count, void *siginfo, void *private_data)
{
	struct rsvd_sg *sg = private_data;

	if (waitpid(sg->child, &sg->wait_status, WNOHANG) == sg->child) {
		sg->ended = true;
	}
}

/* Who ends us means the program. */
static void rsvd_sg_pass_on(struct tevent_context *ev,
			    struct tevent_signal *se, int signum, int count,
			    void *siginfo, void *private_data)
{
	struct rsvd_sg *sg = private_data;

	kill(sg->child, signum);
}

static bool rsvd_sg_handle_signals(struct rsvd_sg *sg)
{
	static const int passed_on[] = { SIGTERM, SIGHUP };
	size_t i;

	if (tevent_add_signal(sg->ev, sg->mem_ctx, SIGCHLD, 0,
			      rsvd_sg_child_ended, sg) == NULL) {
		return false;
	}
	for (i = 0; i < ARRAY_SIZE(passed_on); i++) {
		if (tevent_add_signal(sg->ev, sg->mem_ctx, passed_on[i], 0,
				      rsvd_sg_pass_on, sg) == NULL) {
			return false;
		}
	}
	return true;
}

/*
 * The child is there before the connections, or the program would hold them
 * open. It waits until the disk is attached, and is told by how many paths.
 */
static bool rsvd_sg_fork(struct rsvd_sg *sg, char **command)
{
	int fds[2];
	char num_paths;

	if (!rsvd_sg_handle_signals(sg)) {
		rsvd_sg_error("out of memory");
		return false;
	}
	if (pipe2(fds, O_CLOEXEC) != 0) {
		rsvd_sg_error("cannot make a pipe: %s", strerror(errno));
		return false;
	}
	sg->child = fork();
	if (sg->child == -1) {
		rsvd_sg_error("cannot fork: %s", strerror(errno));
		return false;
	}
	if (sg->child != 0) {
		close(fds[0]);
		sg->start = fds[1];
		return true;
	}

	close(fds[1]);
	if (sys_read(fds[0], &num_paths, 1) == 1) {
		rsvd_sg_execute(sg, num_paths, command);
	}
	_exit(EXIT_RSVD_SG_FAILED);
}

static int rsvd_sg_wait(struct rsvd_sg *sg)
{
	/* The keys of the terminal are for the program. */
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);

	while (!sg->ended) {
		if (tevent_loop_once(sg->ev) != 0) {
			rsvd_sg_error("cannot wait: %s", strerror(errno));
			kill(sg->child, SIGTERM);
			return EXIT_RSVD_SG_FAILED;
		}
	}
	if (WIFSIGNALED(sg->wait_status)) {
		return 128 + WTERMSIG(sg->wait_status);
	}
	return WEXITSTATUS(sg->wait_status);
}

static bool rsvd_sg_attach_all(struct rsvd_sg *sg, poptContext pc)
{
	const char *text = NULL;

	while ((text = poptGetArg(pc)) != NULL) {
		struct rsvd_sg_target *target = NULL;

		if (sg->num_paths == RSVD_SG_MAX_PATHS) {
			rsvd_sg_error("more than %d paths",
				      RSVD_SG_MAX_PATHS);
			return false;
		}
		target = rsvd_sg_target_parse(sg->mem_ctx, text,
					      sg->num_paths);
		if (target == NULL || !rsvd_sg_attach(sg, target)) {
			return false;
		}
	}
	return true;
}

static int rsvd_sg_main(struct rsvd_sg *sg, poptContext pc, char **command)
{
	int ret = EXIT_RSVD_SG_FAILED;
	char num_paths;

	if (!rsvd_sg_listen(sg) || !rsvd_sg_fork(sg, command)) {
		goto done;
	}
	if (!rsvd_sg_attach_all(sg, pc)) {
		/* The child sees that nobody will tell it to start. */
		close(sg->start);
		goto done;
	}
	num_paths = sg->num_paths;
	if (sys_write(sg->start, &num_paths, 1) == 1) {
		ret = rsvd_sg_wait(sg);
	}
done:
	rsvd_sg_remove_socket(sg);
	while (sg->num_paths > 0) {
		librsvd_close(sg->paths[--sg->num_paths].disk);
	}
	return ret;
}

/* A password must not stay where ps(1) shows it. */
static void rsvd_sg_burn(int argc, const char **argv)
{
	int i;

	samba_cmdline_burn(argc, discard_const_p(char *, argv));
	for (i = 1; i < argc; i++) {
		char *settings = NULL;

		if (argv[i] != NULL && strstr(argv[i], ",password=") != NULL) {
			settings = strchr(argv[i], ',');
			memset(settings, '\0', strlen(settings));
		}
	}
}

int main(int argc, const char **argv)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct rsvd_sg sg = { .mem_ctx = frame, .listener = -1 };
	struct poptOption options[] = {
		POPT_AUTOHELP
		{
			.longName = "port",
			.shortName = 'p',
			.argInfo = POPT_ARG_INT,
			.arg = &rsvd_sg_opts.port,
			.descrip = "TCP port of the server; default 445",
			.argDescrip = "PORT",
		},
		POPT_COMMON_SAMBA
		POPT_COMMON_CONNECTION
		POPT_COMMON_CREDENTIALS
		POPT_COMMON_VERSION
		POPT_TABLEEND
	};
	poptContext pc;
	int opt, own = 1, ret = EXIT_RSVD_SG_FAILED;

	smb_init_locale();

	/* What is behind the first "--" is not for popt. */
	while (own < argc && strcmp(argv[own], "--") != 0) {
		own += 1;
	}

	if (!samba_cmdline_init(frame, SAMBA_CMDLINE_CONFIG_CLIENT, false)) {
		rsvd_sg_error("cannot set up Samba's command line library");
		TALLOC_FREE(frame);
		return EXIT_RSVD_SG_FAILED;
	}
	pc = samba_popt_get_context("rsvd-sg", own, argv, options, 0);
	if (pc == NULL) {
		rsvd_sg_error("out of memory");
		TALLOC_FREE(frame);
		return EXIT_RSVD_SG_FAILED;
	}
	poptSetOtherOptionHelp(pc, "[OPTIONS] //server/share/path[,SETTING...]"
			       "... -- COMMAND [ARGUMENTS]");
	while ((opt = poptGetNextOpt(pc)) != -1) {
		if (opt < -1) {
			rsvd_sg_error("%s: %s", poptBadOption(pc, 0),
				      poptStrerror(opt));
			goto done;
		}
	}
	if (poptPeekArg(pc) == NULL || own + 1 >= argc) {
		rsvd_sg_error(poptPeekArg(pc) == NULL ?
			      "no disk: what is to be attached?" :
			      "no command: it follows after --");
		poptPrintUsage(pc, stderr, 0);
		goto done;
	}
	rsvd_sg_burn(own, argv);

	sg.ev = samba_tevent_context_init(frame);
	if (sg.ev == NULL) {
		rsvd_sg_error("out of memory");
		goto done;
	}
	ret = rsvd_sg_main(&sg, pc, discard_const_p(char *, argv + own + 1));
done:
	poptFreeContext(pc);
	TALLOC_FREE(frame);
	return ret;
}
