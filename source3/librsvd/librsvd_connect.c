/*
 * librsvd: connecting to a share
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/librsvd/librsvd_private.h"
#include "system/network.h"
#include "auth/credentials/credentials.h"
#include "dynconfig/dynconfig.h"
#include "lib/param/param.h"
#include "lib/util/dlinklist.h"
#include "libcli/smb/smb2_negotiate_context.h"
#include "source3/param/loadparm.h"

#define LIBRSVD_TCP_PORT 445
#define LIBRSVD_TIMEOUT_MSEC 60000

/* As cli_full_connection_creds() asks for. */
#define LIBRSVD_MAX_CREDITS 8192

struct librsvd_connect_state {
	struct tevent_context *ev;
	char *server;
	char *share;
	struct cli_credentials *creds;
	enum smb_signing_setting signing;
	enum smb_encryption_setting encryption;
	enum protocol_types min_protocol;
	enum protocol_types max_protocol;
	struct librsvd_conn *conn;
};

static void librsvd_connect_tcp_done(struct tevent_req *subreq);
static void librsvd_connect_negprot_done(struct tevent_req *subreq);
static void librsvd_connect_session_done(struct tevent_req *subreq);
static void librsvd_connect_tcon_done(struct tevent_req *subreq);

/*
 * What Samba's client code needs of its process: a configuration, and a
 * talloc stack frame. A program of Samba's has both.
 */
static NTSTATUS librsvd_init(const char *config_file)
{
	if (!talloc_stackframe_exists()) {
		/*
		 * For as long as the process lives: the loop runs after we
		 * return. Only session setup allocates from it, and little.
		 */
		talloc_stackframe();
	}

	if (lp_loaded()) {
		return NT_STATUS_OK;
	}

	/*
	 * A library has no business on stdout, and a missing smb.conf means
	 * defaults.
	 */
	setup_logging("librsvd", DEBUG_STDERR);
	if (config_file == NULL) {
		config_file = get_dyn_CONFIGFILE();
	}
	if (!lp_load_client(config_file)) {
		DBG_NOTICE("Cannot load %s, going on with defaults\n",
			   config_file);
	}
	return NT_STATUS_OK;
}

static bool librsvd_dialect(uint16_t dialect, enum protocol_types fallback,
			    enum protocol_types *protocol)
{
	switch (dialect) {
	case 0:
		*protocol = fallback;
		return true;
	case 0x0302:
		*protocol = PROTOCOL_SMB3_02;
		return true;
	case 0x0311:
		*protocol = PROTOCOL_SMB3_11;
		return true;
	}
	return false;
}

/* Those of whom the ticket in the default cache is for. */
static struct cli_credentials *librsvd_ticket(TALLOC_CTX *mem_ctx)
{
	struct cli_credentials *creds = cli_credentials_init(mem_ctx);
	struct loadparm_context *lp_ctx = NULL;
	const char *error = NULL;

	if (creds == NULL) {
		return NULL;
	}
	lp_ctx = loadparm_init_s3(creds, loadparm_s3_helpers());
	if (lp_ctx == NULL || !cli_credentials_set_conf(creds, lp_ctx)) {
		TALLOC_FREE(creds);
		return NULL;
	}
	cli_credentials_set_kerberos_state(creds, CRED_USE_KERBEROS_REQUIRED,
					   CRED_SPECIFIED);
	/* Without a cache it is nobody, who is not let in. */
	if (cli_credentials_set_ccache(creds, lp_ctx, NULL, CRED_SPECIFIED,
				       &error) != 0) {
		DBG_NOTICE("no Kerberos credential cache: %s\n", error);
	}
	return creds;
}

static struct cli_credentials *librsvd_credentials(
	TALLOC_CTX *mem_ctx, const struct librsvd_connect_params *params)
{
	bool kerberos = params->kerberos == LIBRSVD_DESIRED ||
			params->kerberos == LIBRSVD_REQUIRED;
	bool ntlm = params->kerberos != LIBRSVD_REQUIRED;

	if (params->kerberos == LIBRSVD_DEFAULT) {
		kerberos = params->realm != NULL;
	}
	/* Which cli_session_creds_init() takes for anonymous */
	if (params->user == NULL && params->kerberos == LIBRSVD_REQUIRED) {
		return librsvd_ticket(mem_ctx);
	}

	return cli_session_creds_init(mem_ctx, params->user, params->domain,
				      params->realm, params->password,
				      kerberos, ntlm, false, false);
}

static enum smb_signing_setting librsvd_signing(enum librsvd_setting setting,
						struct cli_credentials *creds)
{
	switch (setting) {
	case LIBRSVD_OFF:
		return SMB_SIGNING_OFF;
	case LIBRSVD_DESIRED:
		return SMB_SIGNING_DESIRED;
	case LIBRSVD_REQUIRED:
		return SMB_SIGNING_REQUIRED;
	case LIBRSVD_DEFAULT:
		break;
	}
	return cli_credentials_get_smb_signing(creds);
}

static enum smb_encryption_setting librsvd_encryption(
	enum librsvd_setting setting, struct cli_credentials *creds)
{
	switch (setting) {
	case LIBRSVD_OFF:
		return SMB_ENCRYPTION_OFF;
	case LIBRSVD_DESIRED:
		return SMB_ENCRYPTION_DESIRED;
	case LIBRSVD_REQUIRED:
		return SMB_ENCRYPTION_REQUIRED;
	case LIBRSVD_DEFAULT:
		break;
	}
	return cli_credentials_get_smb_encryption(creds);
}

/*
 * The addresses of a host, in the order in which they are to be tried.
 */
static NTSTATUS librsvd_resolve(TALLOC_CTX *mem_ctx, const char *host,
				struct sockaddr_storage **_addrs,
				size_t *_num_addrs)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *list = NULL, *ai = NULL;
	struct sockaddr_storage *addrs = NULL;
	size_t num = 0;
	int ret;

	ret = getaddrinfo(host, NULL, &hints, &list);
	if (ret != 0) {
		DBG_NOTICE("%s: %s\n", host, gai_strerror(ret));
		return NT_STATUS_BAD_NETWORK_PATH;
	}

	for (ai = list; ai != NULL; ai = ai->ai_next) {
		num += 1;
	}
	addrs = talloc_zero_array(mem_ctx, struct sockaddr_storage, num);
	if (addrs == NULL) {
		freeaddrinfo(list);
		return NT_STATUS_NO_MEMORY;
	}
	num = 0;
	for (ai = list; ai != NULL; ai = ai->ai_next) {
		if (ai->ai_addrlen > sizeof(addrs[num])) {
			continue;
		}
		memcpy(&addrs[num], ai->ai_addr, ai->ai_addrlen);
		num += 1;
	}
	freeaddrinfo(list);

	*_addrs = addrs;
	*_num_addrs = num;
	return NT_STATUS_OK;
}

static int librsvd_conn_destructor(struct librsvd_conn *conn)
{
	struct librsvd_disk *disk = NULL;

	librsvd_ticket_abandon_all(conn);

	while ((disk = conn->disks) != NULL) {
		DLIST_REMOVE(conn->disks, disk);
		disk->conn = NULL;
	}
	if (conn->cli != NULL) {
		smbXcli_conn_disconnect(conn->cli->conn,
					NT_STATUS_LOCAL_DISCONNECT);
	}
	return 0;
}

struct tevent_req *librsvd_connect_send(
	TALLOC_CTX *mem_ctx, struct tevent_context *ev,
	const struct librsvd_connect_params *params)
{
	struct tevent_req *req = NULL, *subreq = NULL;
	struct librsvd_connect_state *state = NULL;
	struct sockaddr_storage *addrs = NULL;
	size_t num_addrs = 0;
	NTSTATUS status;
	bool ok;

	req = tevent_req_create(mem_ctx, &state, struct librsvd_connect_state);
	if (req == NULL) {
		return NULL;
	}
	state->ev = ev;

	if (params->server == NULL || params->share == NULL ||
	    LIBRSVD_IS_UNKNOWN(params)) {
		tevent_req_nterror(req, NT_STATUS_INVALID_PARAMETER);
		return tevent_req_post(req, ev);
	}
	ok = librsvd_dialect(params->min_dialect, PROTOCOL_SMB3_02,
			     &state->min_protocol);
	ok = ok && librsvd_dialect(params->max_dialect, PROTOCOL_SMB3_11,
				   &state->max_protocol);
	if (!ok || state->min_protocol > state->max_protocol) {
		tevent_req_nterror(req, NT_STATUS_INVALID_PARAMETER);
		return tevent_req_post(req, ev);
	}

	status = librsvd_init(params->config_file);
	if (tevent_req_nterror(req, status)) {
		return tevent_req_post(req, ev);
	}

	state->server = talloc_strdup(state, params->server);
	state->share = talloc_strdup(state, params->share);
	if (tevent_req_nomem(state->server, req) ||
	    tevent_req_nomem(state->share, req)) {
		return tevent_req_post(req, ev);
	}

	state->creds = params->credentials;
	if (state->creds == NULL) {
		state->creds = librsvd_credentials(state, params);
	}
	if (tevent_req_nomem(state->creds, req)) {
		return tevent_req_post(req, ev);
	}

	state->signing = librsvd_signing(params->signing, state->creds);
	state->encryption = librsvd_encryption(params->encryption,
					       state->creds);
	if (state->encryption >= SMB_ENCRYPTION_DESIRED) {
		/* Keys are only derived for a session that is signed. */
		state->signing = SMB_SIGNING_REQUIRED;
	}

	state->conn = talloc_zero(state, struct librsvd_conn);
	if (tevent_req_nomem(state->conn, req)) {
		return tevent_req_post(req, ev);
	}
	state->conn->ev = ev;
	state->conn->timeout_msec = params->timeout_msec;
	if (state->conn->timeout_msec == 0) {
		state->conn->timeout_msec = LIBRSVD_TIMEOUT_MSEC;
	}
	talloc_set_destructor(state->conn, librsvd_conn_destructor);

	status = librsvd_resolve(state, state->server, &addrs, &num_addrs);
	if (tevent_req_nterror(req, status)) {
		return tevent_req_post(req, ev);
	}

	subreq = smbsock_any_connect_send(
		state, ev, addrs, NULL, NULL, NULL, NULL, num_addrs,
		params->port != 0 ? params->port : LIBRSVD_TCP_PORT);
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, ev);
	}
	if (!tevent_req_set_endtime(subreq, ev,
				    timeval_current_ofs_msec(
					    state->conn->timeout_msec))) {
		tevent_req_oom(req);
		return tevent_req_post(req, ev);
	}
	tevent_req_set_callback(subreq, librsvd_connect_tcp_done, req);
	return req;
}

static void librsvd_connect_tcp_done(struct tevent_req *subreq)
{
	struct tevent_req *req =
		tevent_req_callback_data(subreq, struct tevent_req);
	struct librsvd_connect_state *state =
		tevent_req_data(req, struct librsvd_connect_state);
	struct librsvd_conn *conn = state->conn;
	NTSTATUS status;
	int fd = -1;

	status = smbsock_any_connect_recv(subreq, &fd, NULL, NULL);
	TALLOC_FREE(subreq);
	if (tevent_req_nterror(req, status)) {
		return;
	}
	set_socket_options(fd, lp_socket_options());

	conn->cli = cli_state_create(conn, fd, state->server, state->signing,
				     0);
	if (conn->cli == NULL) {
		close(fd);
		tevent_req_oom(req);
		return;
	}
	cli_set_timeout(conn->cli, conn->timeout_msec);

	subreq = smbXcli_negprot_send(
		state, state->ev, conn->cli->conn, conn->timeout_msec,
		state->min_protocol, state->max_protocol,
		WINDOWS_CLIENT_PURE_SMB2_NEGPROT_INITIAL_CREDIT_ASK, NULL);
	if (tevent_req_nomem(subreq, req)) {
		return;
	}
	tevent_req_set_callback(subreq, librsvd_connect_negprot_done, req);
}

static void librsvd_connect_negprot_done(struct tevent_req *subreq)
{
	struct tevent_req *req =
		tevent_req_callback_data(subreq, struct tevent_req);
	struct librsvd_connect_state *state =
		tevent_req_data(req, struct librsvd_connect_state);
	struct cli_state *cli = state->conn->cli;
	NTSTATUS status;

	status = smbXcli_negprot_recv(subreq, NULL, NULL);
	TALLOC_FREE(subreq);
	if (tevent_req_nterror(req, status)) {
		return;
	}
	smb2cli_conn_set_max_credits(cli->conn, LIBRSVD_MAX_CREDITS);

	subreq = cli_session_setup_creds_send(state, state->ev, cli,
					      state->creds);
	if (tevent_req_nomem(subreq, req)) {
		return;
	}
	tevent_req_set_callback(subreq, librsvd_connect_session_done, req);
}

static void librsvd_connect_session_done(struct tevent_req *subreq)
{
	struct tevent_req *req =
		tevent_req_callback_data(subreq, struct tevent_req);
	struct librsvd_connect_state *state =
		tevent_req_data(req, struct librsvd_connect_state);
	struct cli_state *cli = state->conn->cli;
	NTSTATUS status;
	char *unc = NULL;

	status = cli_session_setup_creds_recv(subreq);
	TALLOC_FREE(subreq);
	if (tevent_req_nterror(req, status)) {
		return;
	}

	if (state->encryption >= SMB_ENCRYPTION_DESIRED) {
		status = smb2cli_session_encryption_on(cli->smb2.session);
		if (NT_STATUS_EQUAL(status, NT_STATUS_NOT_SUPPORTED) &&
		    state->encryption < SMB_ENCRYPTION_REQUIRED) {
			status = NT_STATUS_OK;
		}
		if (tevent_req_nterror(req, status)) {
			return;
		}
	}

	cli->smb2.tcon = smbXcli_tcon_create(cli);
	unc = talloc_asprintf(state, "\\\\%s\\%s", state->server,
			      state->share);
	if (tevent_req_nomem(cli->smb2.tcon, req) ||
	    tevent_req_nomem(unc, req)) {
		return;
	}
	subreq = smb2cli_tcon_send(state, state->ev, cli->conn,
				   state->conn->timeout_msec,
				   cli->smb2.session, cli->smb2.tcon, 0, unc);
	if (tevent_req_nomem(subreq, req)) {
		return;
	}
	tevent_req_set_callback(subreq, librsvd_connect_tcon_done, req);
}

static void librsvd_connect_tcon_done(struct tevent_req *subreq)
{
	struct tevent_req *req =
		tevent_req_callback_data(subreq, struct tevent_req);
	NTSTATUS status;

	status = smb2cli_tcon_recv(subreq);
	TALLOC_FREE(subreq);
	if (tevent_req_nterror(req, status)) {
		return;
	}
	tevent_req_done(req);
}

NTSTATUS librsvd_connect_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx,
			      struct librsvd_conn **conn)
{
	struct librsvd_connect_state *state =
		tevent_req_data(req, struct librsvd_connect_state);
	NTSTATUS status;

	if (tevent_req_is_nterror(req, &status)) {
		tevent_req_received(req);
		return status;
	}
	*conn = talloc_move(mem_ctx, &state->conn);
	tevent_req_received(req);
	return NT_STATUS_OK;
}

NTSTATUS librsvd_connect(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
			 const struct librsvd_connect_params *params,
			 struct librsvd_conn **conn)
{
	struct tevent_context *own_ev = NULL;
	struct tevent_req *req = NULL;
	NTSTATUS status;

	if (ev == NULL) {
		own_ev = ev = samba_tevent_context_init(mem_ctx);
		if (ev == NULL) {
			return NT_STATUS_NO_MEMORY;
		}
	}

	req = librsvd_connect_send(ev, ev, params);
	if (req == NULL) {
		TALLOC_FREE(own_ev);
		return NT_STATUS_NO_MEMORY;
	}
	if (tevent_req_poll_ntstatus(req, ev, &status)) {
		status = librsvd_connect_recv(req, mem_ctx, conn);
	}
	TALLOC_FREE(req);
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(own_ev);
		return status;
	}
	talloc_steal(*conn, own_ev);
	return NT_STATUS_OK;
}

NTSTATUS librsvd_wait(struct librsvd_conn *conn, struct tevent_req *req)
{
	NTSTATUS status;

	if (conn == NULL) {
		return NT_STATUS_CONNECTION_DISCONNECTED;
	}
	if (req == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	if (!tevent_req_poll_ntstatus(req, conn->ev, &status)) {
		return status;
	}
	return NT_STATUS_OK;
}

bool librsvd_conn_is_connected(const struct librsvd_conn *conn)
{
	return smbXcli_conn_is_connected(conn->cli->conn);
}

uint16_t librsvd_conn_dialect(const struct librsvd_conn *conn)
{
	if (smbXcli_conn_protocol(conn->cli->conn) >= PROTOCOL_SMB3_11) {
		return 0x0311;
	}
	return 0x0302;
}

uint32_t librsvd_conn_max_io_size(const struct librsvd_conn *conn)
{
	return MIN(smb2cli_conn_max_read_size(conn->cli->conn),
		   smb2cli_conn_max_write_size(conn->cli->conn));
}
