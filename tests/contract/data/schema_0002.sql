BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE allocations (
	id TEXT NOT NULL, 
	job_id TEXT NOT NULL, 
	rank BIGINT NOT NULL, 
	attempt BIGINT NOT NULL, 
	host_id TEXT NOT NULL, 
	cpus BIGINT NOT NULL, 
	memory_bytes BIGINT NOT NULL, 
	gpus TEXT NOT NULL, 
	wanted TEXT NOT NULL, 
	observed TEXT NOT NULL, 
	started_at DOUBLE NOT NULL, 
	address TEXT NOT NULL, 
	master_port BIGINT NOT NULL, 
	stop_reason TEXT NOT NULL, 
	stop_grace DOUBLE NOT NULL, 
	stop_signal TEXT NOT NULL, 
	PRIMARY KEY (id)
)
 WITHOUT ROWID

;
INSERT INTO "allocations" VALUES('j-5.0.2','j-5',0,2,'h-2',1,104857600,'','running','running',1.79545945840430760378e+09,'',0,'',0.0,'');
INSERT INTO "allocations" VALUES('j-5.1.1','j-5',1,1,'h-2',1,104857600,'','running','running',1.79545945753640127182e+09,'',0,'',0.0,'');
INSERT INTO "allocations" VALUES('j-6.0.1','j-6',0,1,'h-1',1,0,'','running','running',1.79545945902427816391e+09,'',0,'',0.0,'');
INSERT INTO "allocations" VALUES('j-6.1.1','j-6',1,1,'h-1',1,0,'','running','running',1.79545945900310254094e+09,'',0,'',0.0,'');
INSERT INTO "allocations" VALUES('j-7.0.1','j-7',0,1,'h-1',1,0,'','running','running',1.79545945931758928301e+09,'127.0.0.1',22416,'',0.0,'');
INSERT INTO "allocations" VALUES('j-7.1.1','j-7',1,1,'h-2',1,0,'','running','running',1.79545945932804965972e+09,'127.0.0.1',24033,'',0.0,'');
INSERT INTO "allocations" VALUES('j-8.0.1','j-8',0,1,'h-1',1,0,'','stopping','stopping',1.79545946045599770545e+09,'',0,'stopped by admin',600.0,'');
CREATE TABLE archive_pieces (
	sha256 TEXT NOT NULL, 
	number BIGINT NOT NULL, 
	data BLOB NOT NULL, 
	PRIMARY KEY (sha256, number)
)
 WITHOUT ROWID

;
CREATE TABLE archives (
	sha256 TEXT NOT NULL, 
	size BIGINT NOT NULL, 
	used_at DOUBLE NOT NULL, 
	PRIMARY KEY (sha256)
)
 WITHOUT ROWID

;
CREATE TABLE coordinators (
	api TEXT NOT NULL, 
	agents TEXT NOT NULL, 
	seen_at DOUBLE NOT NULL, 
	PRIMARY KEY (api)
)
 WITHOUT ROWID

;
CREATE TABLE counters (
	name TEXT NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
)
 WITHOUT ROWID

;
INSERT INTO "counters" VALUES('attempts',0);
INSERT INTO "counters" VALUES('hosts',3);
INSERT INTO "counters" VALUES('jobs',0);
INSERT INTO "counters" VALUES('lease',36);
INSERT INTO "counters" VALUES('served',1795459462);
CREATE TABLE gangs (
	job_id TEXT NOT NULL, 
	generation BIGINT NOT NULL, 
	phase TEXT NOT NULL, 
	network TEXT NOT NULL, 
	formed TEXT, 
	reason TEXT NOT NULL, 
	exit_code BIGINT, 
	retry BOOLEAN NOT NULL, 
	PRIMARY KEY (job_id)
)
 WITHOUT ROWID

;
INSERT INTO "gangs" VALUES('j-7',1,'running','','{"format":1,"generation":1,"master_address":"127.0.0.1","master_port":22416,"members":[{"rank":0,"host_id":"h-1","address":"127.0.0.1","slots":1},{"rank":1,"host_id":"h-2","address":"127.0.0.1","slots":1}]}','',NULL,0);
CREATE TABLE hosts (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	facts TEXT NOT NULL, 
	joined_at DOUBLE NOT NULL, 
	machine_id TEXT NOT NULL, 
	hardware TEXT, 
	peer TEXT NOT NULL, 
	state TEXT NOT NULL, 
	cordoned BOOLEAN NOT NULL, 
	epoch BIGINT NOT NULL, 
	agent_version TEXT NOT NULL, 
	last_seen_at DOUBLE NOT NULL, 
	drained TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (id)
)
 WITHOUT ROWID

;
INSERT INTO "hosts" VALUES('h-1','one','{"format":1,"backend":"rack","region":"r1","network":null,"price_per_hour":1.5,"labels":{"zone":"a"},"spot":false}',1.79545945167435503004e+09,'fedcba9876543210fedcba9876543210','{"format":1,"hostname":"host","arch":"x86_64","os":"Debian GNU/Linux 12 (bookworm)","kernel":"6.1.0-28-amd64","boot_id":"11111111-2222-3333-4444-555555555555","machine_id":"0123456789abcdef0123456789abcdef","cpu_model":"AMD EPYC","cpus":16,"memory_bytes":25276502016,"memory_available_bytes":24349224960,"disks":[{"path":"/","total_bytes":270553174016,"free_bytes":78018473984}],"interfaces":[{"name":"eth0","addresses":["192.0.2.2/24","fd00::2/64"],"speed_mbps":null,"loopback":false},{"name":"lo","addresses":["127.0.0.1/8","::1/128"],"speed_mbps":null,"loopback":true}],"gpus":[],"driver_version":null,"cuda_version":null,"gpu_problem":null,"isolation":"cgroup v2, memory limits by cgroup v1","warnings":[],"disk_problem":null}','{"format":1,"addresses":["127.0.0.1"],"port":46625}','online',0,1,'0.1.0',1.79545945289560151102e+09,'');
INSERT INTO "hosts" VALUES('h-2','two','{"format":1,"backend":"rack","region":"r1","network":null,"price_per_hour":1.5,"labels":{"zone":"a"},"spot":false}',1.79545945236110019685e+09,'fedcba9876543210fedcba9876543210','{"format":1,"hostname":"host","arch":"x86_64","os":"Debian GNU/Linux 12 (bookworm)","kernel":"6.1.0-28-amd64","boot_id":"11111111-2222-3333-4444-555555555555","machine_id":"0123456789abcdef0123456789abcdef","cpu_model":"AMD EPYC","cpus":16,"memory_bytes":25276502016,"memory_available_bytes":24305152000,"disks":[{"path":"/","total_bytes":270553174016,"free_bytes":78017261568}],"interfaces":[{"name":"eth0","addresses":["192.0.2.2/24","fd00::2/64"],"speed_mbps":null,"loopback":false},{"name":"lo","addresses":["127.0.0.1/8","::1/128"],"speed_mbps":null,"loopback":true}],"gpus":[],"driver_version":null,"cuda_version":null,"gpu_problem":null,"isolation":"cgroup v2, memory limits by cgroup v1","warnings":[],"disk_problem":null}','{"format":1,"addresses":["127.0.0.1"],"port":40911}','online',1,1,'0.1.0',1.79545945931128764151e+09,'');
CREATE TABLE jobs (
	id TEXT NOT NULL, 
	number BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	user TEXT NOT NULL, 
	request_id TEXT NOT NULL, 
	spec TEXT NOT NULL, 
	submitted_at DOUBLE NOT NULL, 
	state TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	exit_code BIGINT, 
	generation BIGINT NOT NULL, 
	host_failures BIGINT NOT NULL, 
	errors BIGINT NOT NULL, 
	failing_since DOUBLE NOT NULL, 
	started_at DOUBLE NOT NULL, 
	ended_at DOUBLE NOT NULL, 
	version BIGINT NOT NULL, 
	avoids TEXT DEFAULT '' NOT NULL, 
	spares_taken BIGINT DEFAULT '0' NOT NULL, 
	waiting_since DOUBLE DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id)
)
 WITHOUT ROWID

;
INSERT INTO "jobs" VALUES('j-1',1,'done-any','admin','f1149f37-71cc-4d3e-8e13-adfa3c3b4011','{"format":1,"name":"done-any","nodes":2,"placement":"any","commands":[],"argv":["echo","hello"],"shell":null,"env":{"SEED":"7"},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null}}',1.79545945519652271268e+09,'done','',0,0,0,0,0.0,1.79545945522393417355e+09,1.79545945523975372312e+09,0,'',0,1.79545945519652223581e+09);
INSERT INTO "jobs" VALUES('j-2',2,'done-cluster','admin','cc35f8e7-d655-4257-b1e8-c874f50ef3b9','{"format":1,"name":"done-cluster","nodes":2,"placement":"cluster","commands":[],"argv":["sh","-c","echo $MASTER_ADDR"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null}}',1.79545945566250228879e+09,'done','',0,1,0,0,0.0,1.79545945569754076005e+09,1.79545945571740722659e+09,0,'',0,1.79545945566250133513e+09);
INSERT INTO "jobs" VALUES('j-3',3,'failed','admin','6d3993d5-0d65-4c0b-96b6-62924a98bcad','{"format":1,"name":"failed","nodes":1,"placement":"any","commands":[],"argv":["sh","-c","exit 3"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null}}',1.79545945606691813465e+09,'failed','1 of 1 nodes failed; first node 0: exit code 3',3,0,0,0,0.0,1.79545945607566928862e+09,1.7954594560773246289e+09,0,'',0,1.79545945606691718099e+09);
INSERT INTO "jobs" VALUES('j-4',4,'stopped','admin','6828c52b-8133-495d-bb86-9f6d564288bb','{"format":1,"name":"stopped","nodes":1,"placement":"any","commands":[],"argv":["sh","-c","echo began; sleep 600"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null}}',1.79545945640351963046e+09,'stopped','stopped by admin',NULL,0,0,0,0.0,1.79545945644097065928e+09,1.79545945690043377875e+09,0,'',0,1.7954594564035186768e+09);
INSERT INTO "jobs" VALUES('j-5',5,'retried','admin','9f72a3e4-a21d-4d63-b7de-68e0762d6ade','{"format":1,"name":"retried","nodes":2,"placement":"any","commands":["echo began","[ $DSTACK_NODE_RANK = 1 ] || [ $RALLYPOINT_ATTEMPT != 1 ] || exit 4","sleep 600"],"argv":[],"shell":null,"env":{"A":"b"},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":104857600,"max":null},"disk_bytes":{"min":1073741824,"max":null},"shm_bytes":null,"gpu":null},"max_duration":43200.0,"stop_duration":7.0,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":{"on_events":["error"],"duration":null,"attempts":3},"on_node_failure":"go-on","spread":"host","priority":5,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null}}',1.79545945752366089814e+09,'running','',NULL,0,0,0,0.0,1.79545945756252264976e+09,0.0,0,'',0,1795459457.52366);
INSERT INTO "jobs" VALUES('j-6',6,'running-any','admin','49bfb2ce-3d33-4ecb-8f07-6e3c3d27223c','{"format":1,"name":"running-any","nodes":2,"placement":"any","commands":[],"argv":["sh","-c","echo began; sleep 600"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null}}',1.79545945898774600034e+09,'running','',NULL,0,0,0,0.0,1.79545945905121183397e+09,0.0,0,'',0,1.79545945898774528498e+09);
INSERT INTO "jobs" VALUES('j-7',7,'running-cluster','admin','0ee16e0f-4af1-4cd2-9eaf-315a5b2489d5','{"format":1,"name":"running-cluster","nodes":2,"placement":"cluster","commands":[],"argv":["sh","-c","echo began; sleep 600"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null}}',1.79545945929303407675e+09,'running','',NULL,1,0,0,0.0,1.79545945934334468842e+09,0.0,0,'',0,1.79545945929303336148e+09);
INSERT INTO "jobs" VALUES('j-8',8,'stopping','admin','5005f4de-1d78-4936-b363-74d6f986f4ee','{"format":1,"name":"stopping","nodes":1,"placement":"any","commands":[],"argv":["sh","-c","trap '''' TERM; echo began; while true; do sleep 1; done"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":600.0,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null}}',1.79545946043590331077e+09,'stopping','stopped by admin',NULL,0,0,0,0.0,1.79545946048349714272e+09,0.0,0,'',0,1.7954594604359025955e+09);
INSERT INTO "jobs" VALUES('j-9',9,'waiting','admin','d28d0be5-4d0d-47f8-9966-0f0853f686d4','{"format":1,"name":"waiting","nodes":5,"placement":"cluster","commands":[],"argv":["true"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null}}',1.79545946131735372538e+09,'queued','',NULL,0,0,0,0.0,0.0,0.0,0,'',0,1.79545946131735277171e+09);
CREATE TABLE join_tokens (
	id TEXT NOT NULL, 
	secret_hash TEXT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	expires_at DOUBLE NOT NULL, 
	uses_left BIGINT, 
	labels TEXT NOT NULL, 
	created_by TEXT NOT NULL, 
	revoked BOOLEAN NOT NULL, 
	PRIMARY KEY (id)
)
 WITHOUT ROWID

;
INSERT INTO "join_tokens" VALUES('1a626aff','2536843cebd14cfa97e28673bbe4f3e9f11edd641aa56401e5bd72bbc5771375',1.79545946186570477484e+09,1.7954630618657047748e+09,3,'{"zone": "b"}','admin',0);
INSERT INTO "join_tokens" VALUES('da97e74f','601e9e95008ac66105d9183dba4564b4496ce43a65d94acd3ce25aa8afaf0556',1.79545945116382265087e+09,1.79546305116382265095e+09,NULL,'{}','admin',0);
CREATE TABLE leadership (
	name TEXT NOT NULL, 
	term BIGINT NOT NULL, 
	api TEXT NOT NULL, 
	agents TEXT NOT NULL, 
	ca_pem TEXT NOT NULL, 
	PRIMARY KEY (name)
)
 WITHOUT ROWID

;
CREATE TABLE nodes (
	job_id TEXT NOT NULL, 
	rank BIGINT NOT NULL, 
	state TEXT NOT NULL, 
	attempt BIGINT NOT NULL, 
	host_id TEXT, 
	exit_code BIGINT, 
	cause TEXT, 
	reason TEXT NOT NULL, 
	gpus TEXT NOT NULL, 
	address TEXT NOT NULL, 
	started_at DOUBLE NOT NULL, 
	ended_at DOUBLE NOT NULL, 
	log_bytes BIGINT NOT NULL, 
	host_failures BIGINT NOT NULL, 
	errors BIGINT NOT NULL, 
	failing_since DOUBLE NOT NULL, 
	latest_attempt BIGINT DEFAULT '0' NOT NULL, 
	copies_failed BIGINT DEFAULT '0' NOT NULL, 
	failed_host_id TEXT, 
	PRIMARY KEY (job_id, rank)
)
 WITHOUT ROWID

;
INSERT INTO "nodes" VALUES('j-1',0,'done',1,'h-1',0,'exit','','','',1.79545945522393417355e+09,1.79545945522552108765e+09,6,0,0,0.0,0,0,NULL);
INSERT INTO "nodes" VALUES('j-1',1,'done',1,'h-2',0,'exit','','','',1.79545945523092389107e+09,1.79545945523541522026e+09,6,0,0,0.0,0,0,NULL);
INSERT INTO "nodes" VALUES('j-2',0,'done',1,'h-1',0,'exit','','','127.0.0.1',1.79545945570211505889e+09,1.79545945571071648592e+09,10,0,0,0.0,0,0,NULL);
INSERT INTO "nodes" VALUES('j-2',1,'done',1,'h-2',0,'exit','','','127.0.0.1',1.79545945569754076005e+09,1.79545945571101856234e+09,10,0,0,0.0,0,0,NULL);
INSERT INTO "nodes" VALUES('j-3',0,'failed',1,'h-1',3,'exit','exit code 3','','',1.79545945607566928862e+09,1.7954594560760214328e+09,0,0,1,1.7954594560773236751e+09,0,0,'h-1');
INSERT INTO "nodes" VALUES('j-4',0,'stopped',1,'h-1',143,'stopped','stopped by admin','','',1.79545945642170286173e+09,1.7954594568971021175e+09,6,0,0,1.79545945690043282508e+09,0,0,'h-1');
INSERT INTO "nodes" VALUES('j-5',0,'running',2,'h-2',NULL,NULL,'attempt 1 on one: exit code 4','','',1.79545945840430760378e+09,0.0,0,0,1,1.79545945754546213152e+09,0,0,'h-1');
INSERT INTO "nodes" VALUES('j-5',1,'running',1,'h-2',NULL,NULL,'','','',1.79545945753640127182e+09,0.0,0,0,0,0.0,0,0,NULL);
INSERT INTO "nodes" VALUES('j-6',0,'running',1,'h-1',NULL,NULL,'','','',1.79545945902427816391e+09,0.0,0,0,0,0.0,0,0,NULL);
INSERT INTO "nodes" VALUES('j-6',1,'running',1,'h-1',NULL,NULL,'','','',1.79545945900310254094e+09,0.0,0,0,0,0.0,0,0,NULL);
INSERT INTO "nodes" VALUES('j-7',0,'running',1,'h-1',NULL,NULL,'','','127.0.0.1',1.79545945931758928301e+09,0.0,0,0,0,0.0,0,0,NULL);
INSERT INTO "nodes" VALUES('j-7',1,'running',1,'h-2',NULL,NULL,'','','127.0.0.1',1.79545945932804965972e+09,0.0,0,0,0,0.0,0,0,NULL);
INSERT INTO "nodes" VALUES('j-8',0,'stopping',1,'h-1',NULL,NULL,'stopped by admin','','',1.79545946045762681961e+09,0.0,0,0,0,0.0,0,0,NULL);
CREATE TABLE output_pieces (
	allocation_id TEXT NOT NULL, 
	start BIGINT NOT NULL, 
	data BLOB NOT NULL, 
	PRIMARY KEY (allocation_id, start)
)
 WITHOUT ROWID

;
CREATE TABLE outputs (
	allocation_id TEXT NOT NULL, 
	job_id TEXT NOT NULL, 
	size BIGINT NOT NULL, 
	gaps TEXT NOT NULL, 
	PRIMARY KEY (allocation_id)
)
 WITHOUT ROWID

;
CREATE TABLE users (
	name TEXT NOT NULL, 
	role TEXT NOT NULL, 
	token_hash TEXT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	PRIMARY KEY (name)
)
 WITHOUT ROWID

;
INSERT INTO "users" VALUES('ada','viewer','d564b4d4f4dffd98782708979d1a6ea13c5d38d6a58905ee971b51fe554fa138',1.79545946157709884641e+09);
INSERT INTO "users" VALUES('admin','admin','c176a0fbb862d0b3d61c93baba05e5543b463939020170c8a6d0eaa5f44360cd',1.79545945090532231332e+09);
INSERT INTO "users" VALUES('bob','user','cec466237242eb466b58fe1582b4ace23843f1ac0efad4280ad9c5aa9018c23f',1.7954594617252938747e+09);
COMMIT;
