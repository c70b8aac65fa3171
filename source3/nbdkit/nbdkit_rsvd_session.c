/*
 * nbdkit-rsvd-plugin: the connection, and the thread that owns it
 *
 * nbdkit's threads put requests into a list and wake the session by an
 * eventfd. When the connection is lost the requests that were under way join
 * those that come, and all are done from their start when there is one again,
 * or fail when that takes too long.
 *
 * A server that goes away takes what it had acknowledged but not flushed with
 * it only when its machine dies, as a disk does that loses power. Who must not
 * lose that sets write-through.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/nbdkit/nbdkit_rsvd.h"
#include "lib/util/dlinklist.h"
#include <sys/eventfd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define RSVD_NBD_CONNECT_TIMEOUT_SEC 10

/* Between two attempts, twice as long each time */
#define RSVD_NBD_RETRY_MSEC 100
#define RSVD_NBD_MAX_RETRY_MSEC 2000
/* After a wrong password: more of these lock the account. */
#define RSVD_NBD_LOGON_RETRY_MSEC 30000

struct rsvd_nbd_op;

struct rsvd_nbd_session {
	struct rsvd_nbd_params params;
	pthread_t thread;

	/*
	 * What both sides touch
	 */
	pthread_mutex_t mutex;
	int wake_fd;
	struct rsvd_nbd_request *incoming;
	bool stop;
	/* Of the first attempt to attach. */
	bool decided;
	bool failed;
	pthread_cond_t decided_cond;

	/*
	 * The thread's own
	 */
	struct tevent_context *ev;
	struct librsvd_conn *conn;
	struct librsvd_disk *disk;
	struct rsvd_nbd_geometry geometry;	/* set before decided */
	bool attached;
	bool attaching;
	bool other_disk;	/* what is there is not what it was */
	struct rsvd_nbd_op *running;
	struct rsvd_nbd_op *held;
	struct tevent_timer *retry;
	unsigned int retry_msec;	/* 0: the next is the first */
};

/* A request, on the session's side. */
struct rsvd_nbd_op {
	struct rsvd_nbd_op *prev, *next;
	struct rsvd_nbd_session *session;
	struct rsvd_nbd_request *request;
	struct tevent_timer *patience;	/* while it is held */
};

static struct rsvd_nbd_session session = {
	.mutex = PTHREAD_MUTEX_INITIALIZER,
	.decided_cond = PTHREAD_COND_INITIALIZER,
	.wake_fd = -1,
};

static void session_attach(struct rsvd_nbd_session *s);

/*
 * nbdkit's side
 */

static void session_wake(struct rsvd_nbd_session *s)
{
	uint64_t one = 1;
	ssize_t n;

	/* It fails only when the counter is full, and then it is awake. */
	n = write(s->wake_fd, &one, sizeof(one));
	(void)n;
}

void rsvd_nbd_execute(struct rsvd_nbd_request *request)
{
	struct rsvd_nbd_session *s = &session;
	bool was_empty;

	sem_init(&request->done, 0, 0);

	pthread_mutex_lock(&s->mutex);
	was_empty = (s->incoming == NULL);
	DLIST_ADD_END(s->incoming, request);
	pthread_mutex_unlock(&s->mutex);

	/* Whoever was first has woken it, and it takes all there is. */
	if (was_empty) {
		session_wake(s);
	}
	while (sem_wait(&request->done) == -1 && errno == EINTR) {
		;
	}
	sem_destroy(&request->done);
}

const struct rsvd_nbd_geometry *rsvd_nbd_geometry(void)
{
	return &session.geometry;
}

/*
 * Requests
 */

static void session_finish(struct rsvd_nbd_op *op, int err)
{
	struct rsvd_nbd_request *request = op->request;

	TALLOC_FREE(op);

	request->err = err;
	/* After this the request is no more. */
	sem_post(&request->done);
}

static void session_expired(struct tevent_context *ev, struct tevent_timer *te,
			    struct timeval now, void *private_data)
{
	struct rsvd_nbd_op *op = talloc_get_type_abort(private_data,
						       struct rsvd_nbd_op);
	struct rsvd_nbd_session *s = op->session;

	DLIST_REMOVE(s->held, op);
	nbdkit_error("gave a request up: no connection to //%s/%s for %u "
		     "seconds", s->params.connect.server,
		     s->params.connect.share, s->params.reconnect_timeout_sec);
	session_finish(op, EIO);
}

static void session_hold(struct rsvd_nbd_op *op)
{
	struct rsvd_nbd_session *s = op->session;

	op->patience = tevent_add_timer(
		s->ev, op, tevent_timeval_current_ofs(
			s->params.reconnect_timeout_sec, 0),
		session_expired, op);
	if (op->patience == NULL) {
		session_finish(op, ENOMEM);
		return;
	}
	DLIST_ADD_END(s->held, op);
}

/* Not from a callback of the connection that goes. */
static void session_detached(struct tevent_context *ev,
			     struct tevent_immediate *im, void *private_data)
{
	struct rsvd_nbd_session *s = private_data;

	TALLOC_FREE(im);
	/* What is under way on it ends in session_op_done(). */
	TALLOC_FREE(s->disk);
	TALLOC_FREE(s->conn);
	session_attach(s);
}

static void session_lost(struct rsvd_nbd_session *s)
{
	struct tevent_immediate *im = NULL;

	if (!s->attached) {
		return;
	}
	s->attached = false;
	nbdkit_debug("the connection is lost");

	im = tevent_create_immediate(s->ev);
	if (im == NULL) {
		abort();
	}
	tevent_schedule_immediate(im, s->ev, session_detached, s);
}

static void session_op_done(struct tevent_req *subreq)
{
	struct rsvd_nbd_op *op = tevent_req_callback_data(
		subreq, struct rsvd_nbd_op);
	struct rsvd_nbd_session *s = op->session;
	bool lost = false;
	int err;

	err = rsvd_nbd_op_recv(subreq, &lost);
	TALLOC_FREE(subreq);
	DLIST_REMOVE(s->running, op);

	if (lost) {
		session_hold(op);
		session_lost(s);
		return;
	}
	session_finish(op, err);
}

static void session_run(struct rsvd_nbd_op *op)
{
	struct rsvd_nbd_session *s = op->session;
	struct tevent_req *subreq = NULL;

	subreq = rsvd_nbd_op_send(op, s->ev, &s->disk, &s->geometry,
				  s->params.write_through, op->request);
	if (subreq == NULL) {
		session_finish(op, ENOMEM);
		return;
	}
	DLIST_ADD_END(s->running, op);
	tevent_req_set_callback(subreq, session_op_done, op);
}

static void session_resume(struct rsvd_nbd_session *s)
{
	struct rsvd_nbd_op *op = NULL;

	while (s->attached && (op = s->held) != NULL) {
		DLIST_REMOVE(s->held, op);
		TALLOC_FREE(op->patience);
		session_run(op);
	}
}

/*
 * Attaching
 */

struct session_attach_state {
	struct rsvd_nbd_session *session;
	struct librsvd_open_params open;
	struct librsvd_conn *conn;
	struct librsvd_disk *disk;
	bool writable;
};

static void session_attach_open(struct session_attach_state *state);
static void session_attach_connected(struct tevent_req *subreq);
static void session_attach_opened(struct tevent_req *subreq);
static void session_attach_probed(struct tevent_req *subreq);

static void session_decide(struct rsvd_nbd_session *s, bool failed)
{
	pthread_mutex_lock(&s->mutex);
	s->decided = true;
	s->failed = failed;
	pthread_cond_signal(&s->decided_cond);
	pthread_mutex_unlock(&s->mutex);
}

static void session_retry(struct tevent_context *ev, struct tevent_timer *te,
			  struct timeval now, void *private_data)
{
	struct rsvd_nbd_session *s = private_data;

	TALLOC_FREE(s->retry);
	session_attach(s);
}

static unsigned int session_retry_msec(struct rsvd_nbd_session *s,
				       NTSTATUS status)
{
	if (NT_STATUS_EQUAL(status, NT_STATUS_LOGON_FAILURE) ||
	    NT_STATUS_EQUAL(status, NT_STATUS_ACCESS_DENIED) ||
	    NT_STATUS_EQUAL(status, NT_STATUS_ACCOUNT_LOCKED_OUT)) {
		return RSVD_NBD_LOGON_RETRY_MSEC;
	}
	s->retry_msec = MIN(MAX(s->retry_msec * 2, RSVD_NBD_RETRY_MSEC),
			    RSVD_NBD_MAX_RETRY_MSEC);
	return s->retry_msec;
}

static void session_attach_failed(struct session_attach_state *state,
				  NTSTATUS status, const char *what)
{
	struct rsvd_nbd_session *s = state->session;
	const struct librsvd_connect_params *c = &s->params.connect;
	char *text = librsvd_status_string(state, status);
	unsigned int msec;

	s->attaching = false;
	if (!s->decided) {
		nbdkit_error("cannot %s //%s/%s/%s: %s", what, c->server,
			     c->share, s->params.path, text);
		TALLOC_FREE(state);
		session_decide(s, true);
		return;
	}
	nbdkit_debug("cannot %s //%s/%s/%s: %s", what, c->server, c->share,
		     s->params.path, text);
	TALLOC_FREE(state);

	msec = session_retry_msec(s, status);
	s->retry = tevent_add_timer(
		s->ev, s->ev,
		tevent_timeval_current_ofs(msec / 1000, msec % 1000 * 1000),
		session_retry, s);
	if (s->retry == NULL) {
		abort();
	}
}

static void session_attach(struct rsvd_nbd_session *s)
{
	struct session_attach_state *state = NULL;
	struct tevent_req *subreq = NULL;

	if (s->attached || s->attaching || s->retry != NULL) {
		return;
	}
	state = talloc_zero(s->ev, struct session_attach_state);
	if (state == NULL) {
		abort();
	}
	s->attaching = true;
	state->session = s;
	state->writable = true;

	subreq = librsvd_connect_send(state, s->ev, &s->params.connect);
	if (subreq == NULL) {
		session_attach_failed(state, NT_STATUS_NO_MEMORY,
				      "connect to");
		return;
	}
	/* Its own timeout is that of each of its requests. */
	tevent_req_set_endtime(subreq, s->ev, tevent_timeval_current_ofs(
				       RSVD_NBD_CONNECT_TIMEOUT_SEC, 0));
	tevent_req_set_callback(subreq, session_attach_connected, state);
}

static void session_attach_connected(struct tevent_req *subreq)
{
	struct session_attach_state *state = tevent_req_callback_data(
		subreq, struct session_attach_state);
	NTSTATUS status;

	status = librsvd_connect_recv(subreq, state, &state->conn);
	TALLOC_FREE(subreq);
	if (!NT_STATUS_IS_OK(status)) {
		session_attach_failed(state, status, "connect to");
		return;
	}
	session_attach_open(state);
}

static void session_attach_open(struct session_attach_state *state)
{
	struct rsvd_nbd_session *s = state->session;
	struct tevent_req *subreq = NULL;

	state->open = (struct librsvd_open_params) {
		.path = s->params.path,
		.version = s->params.version,
		.initiator_id = &s->params.initiator_id,
		.host_name = s->params.host_name,
		/* FILE_READ_DATA, _READ_ATTRIBUTES, SYNCHRONIZE, ... */
		.access_mask = 0x00000001 | 0x00000080 | 0x00100000,
	};
	if (state->writable) {
		/* ... and FILE_WRITE_DATA */
		state->open.access_mask |= 0x00000002;
	}
	subreq = librsvd_open_send(state, state->conn, &state->open);
	if (subreq == NULL) {
		session_attach_failed(state, NT_STATUS_NO_MEMORY, "open");
		return;
	}
	tevent_req_set_callback(subreq, session_attach_opened, state);
}

static void session_attach_opened(struct tevent_req *subreq)
{
	struct session_attach_state *state = tevent_req_callback_data(
		subreq, struct session_attach_state);
	struct rsvd_nbd_session *s = state->session;
	NTSTATUS status;

	status = librsvd_open_recv(subreq, state->conn, &state->disk);
	TALLOC_FREE(subreq);

	/* Who may not write can read; but not all of a sudden. */
	if (state->writable && !s->decided &&
	    (NT_STATUS_EQUAL(status, NT_STATUS_ACCESS_DENIED) ||
	     NT_STATUS_EQUAL(status, NT_STATUS_MEDIA_WRITE_PROTECTED))) {
		state->writable = false;
		session_attach_open(state);
		return;
	}
	if (NT_STATUS_EQUAL(status, NT_STATUS_OBJECT_NAME_INVALID) ||
	    NT_STATUS_EQUAL(status, NT_STATUS_NOT_SUPPORTED)) {
		/* ":SharedVirtualDisk" was taken for the name of a stream. */
		session_attach_failed(state, status, "open as a shared "
				      "virtual disk (has the share \"vfs "
				      "objects = rsvd\"?)");
		return;
	}
	if (!NT_STATUS_IS_OK(status)) {
		session_attach_failed(state, status, "open");
		return;
	}

	subreq = rsvd_nbd_probe_send(state, s->ev, state->disk);
	if (subreq == NULL) {
		session_attach_failed(state, NT_STATUS_NO_MEMORY, "ask");
		return;
	}
	tevent_req_set_callback(subreq, session_attach_probed, state);
}

static void session_attach_probed(struct tevent_req *subreq)
{
	struct session_attach_state *state = tevent_req_callback_data(
		subreq, struct session_attach_state);
	struct rsvd_nbd_session *s = state->session;
	struct rsvd_nbd_geometry geometry;
	NTSTATUS status;

	status = rsvd_nbd_probe_recv(subreq, &geometry);
	TALLOC_FREE(subreq);
	if (!NT_STATUS_IS_OK(status)) {
		session_attach_failed(state, status, "ask");
		return;
	}
	geometry.writable = state->writable;

	if (!s->decided) {
		s->geometry = geometry;
	} else if (memcmp(&geometry.disk_id, &s->geometry.disk_id,
			  sizeof(geometry.disk_id)) != 0 ||
		   geometry.size < s->geometry.size ||
		   geometry.sector_size != s->geometry.sector_size) {
		/* What was held would destroy it. */
		session_attach_failed(state, NT_STATUS_WRONG_VOLUME,
				      "go on with");
		return;
	}

	s->conn = talloc_move(s->ev, &state->conn);
	s->disk = state->disk;
	s->attached = true;
	s->attaching = false;
	s->retry_msec = 0;
	TALLOC_FREE(state);

	if (!s->decided) {
		session_decide(s, false);
		return;
	}
	nbdkit_debug("connected again");
	session_resume(s);
}

/*
 * The thread
 */

static void session_woken(struct tevent_context *ev, struct tevent_fd *fde,
			  uint16_t flags, void *private_data)
{
	struct rsvd_nbd_session *s = private_data;
	struct rsvd_nbd_request *incoming = NULL, *request = NULL;
	uint64_t count;
	ssize_t n;

	n = read(s->wake_fd, &count, sizeof(count));
	(void)n;

	pthread_mutex_lock(&s->mutex);
	incoming = s->incoming;
	s->incoming = NULL;
	pthread_mutex_unlock(&s->mutex);

	while ((request = incoming) != NULL) {
		struct rsvd_nbd_op *op = NULL;

		DLIST_REMOVE(incoming, request);
		op = talloc_zero(s->ev, struct rsvd_nbd_op);
		if (op == NULL) {
			abort();
		}
		op->session = s;
		op->request = request;
		if (s->attached) {
			session_run(op);
		} else {
			session_hold(op);
		}
	}
}

static void *session_thread(void *private_data)
{
	struct rsvd_nbd_session *s = private_data;
	struct tevent_fd *fde = NULL;

	s->ev = tevent_context_init(NULL);
	if (s->ev == NULL) {
		abort();
	}
	fde = tevent_add_fd(s->ev, s->ev, s->wake_fd, TEVENT_FD_READ,
			    session_woken, s);
	if (fde == NULL) {
		abort();
	}
	session_attach(s);

	while (true) {
		bool stop;

		pthread_mutex_lock(&s->mutex);
		stop = s->stop;
		pthread_mutex_unlock(&s->mutex);
		if (stop) {
			break;
		}
		if (tevent_loop_once(s->ev) != 0) {
			nbdkit_error("event loop: %m");
			abort();
		}
	}

	if (s->attached) {
		/* Nothing is lost if this fails: the server is told by TCP. */
		librsvd_close(s->disk);
	}
	TALLOC_FREE(s->disk);
	TALLOC_FREE(s->conn);
	TALLOC_FREE(s->ev);
	return NULL;
}

int rsvd_nbd_session_start(const struct rsvd_nbd_params *params)
{
	struct rsvd_nbd_session *s = &session;
	bool failed;
	int err;

	s->params = *params;
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake_fd == -1) {
		nbdkit_error("eventfd: %m");
		return -1;
	}
	err = pthread_create(&s->thread, NULL, session_thread, s);
	if (err != 0) {
		nbdkit_error("pthread_create: %s", strerror(err));
		close(s->wake_fd);
		s->wake_fd = -1;
		return -1;
	}

	pthread_mutex_lock(&s->mutex);
	while (!s->decided) {
		pthread_cond_wait(&s->decided_cond, &s->mutex);
	}
	failed = s->failed;
	pthread_mutex_unlock(&s->mutex);

	if (failed) {
		rsvd_nbd_session_stop();
		return -1;
	}
	return 0;
}

void rsvd_nbd_session_stop(void)
{
	struct rsvd_nbd_session *s = &session;

	if (s->wake_fd == -1) {
		return;
	}
	pthread_mutex_lock(&s->mutex);
	s->stop = true;
	session_wake(s);
	pthread_mutex_unlock(&s->mutex);

	pthread_join(s->thread, NULL);
	close(s->wake_fd);
	s->wake_fd = -1;
}
