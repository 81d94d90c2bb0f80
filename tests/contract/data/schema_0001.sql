BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
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
INSERT INTO "allocations" VALUES('j-5.0.2','j-5',0,2,'h-2',1,104857600,'','running','running',1.79544699126456069947e+09,'',0,'',0.0,'');
INSERT INTO "allocations" VALUES('j-5.1.1','j-5',1,1,'h-2',1,104857600,'','running','running',1.79544699039921212195e+09,'',0,'',0.0,'');
INSERT INTO "allocations" VALUES('j-6.0.1','j-6',0,1,'h-1',1,0,'','running','running',1.7954469916276044846e+09,'',0,'',0.0,'');
INSERT INTO "allocations" VALUES('j-6.1.1','j-6',1,1,'h-1',1,0,'','running','running',1.79544699162716984747e+09,'',0,'',0.0,'');
INSERT INTO "allocations" VALUES('j-7.0.1','j-7',0,1,'h-1',1,0,'','running','running',1.79544699188738512995e+09,'127.0.0.1',25850,'',0.0,'');
INSERT INTO "allocations" VALUES('j-7.1.1','j-7',1,1,'h-2',1,0,'','running','running',1.79544699188776087756e+09,'127.0.0.1',29315,'',0.0,'');
INSERT INTO "allocations" VALUES('j-8.0.1','j-8',0,1,'h-1',1,0,'','stopping','stopping',1.79544699292658185962e+09,'',0,'stopped by admin',600.0,'');
CREATE TABLE counters (
	name TEXT NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
)
 WITHOUT ROWID

;
INSERT INTO "counters" VALUES('hosts',3);
INSERT INTO "counters" VALUES('jobs',0);
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
INSERT INTO "gangs" VALUES('j-7',1,'running','','{"format":1,"generation":1,"master_address":"127.0.0.1","master_port":25850,"members":[{"rank":0,"host_id":"h-1","address":"127.0.0.1","slots":1},{"rank":1,"host_id":"h-2","address":"127.0.0.1","slots":1}]}','',NULL,0);
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
	PRIMARY KEY (id)
)
 WITHOUT ROWID

;
INSERT INTO "hosts" VALUES('h-1','one','{"format":1,"backend":"rack","region":"r1","network":null,"price_per_hour":1.5,"labels":{"zone":"a"},"spot":false}',1.79544698681267452236e+09,'fedcba9876543210fedcba9876543210','{"format":1,"hostname":"host","arch":"x86_64","os":"Debian GNU/Linux 12 (bookworm)","kernel":"6.1.0-28-amd64","boot_id":"11111111-2222-3333-4444-555555555555","machine_id":"0123456789abcdef0123456789abcdef","cpu_model":"AMD EPYC","cpus":16,"memory_bytes":25276502016,"memory_available_bytes":24445808640,"disks":[{"path":"/","total_bytes":270553174016,"free_bytes":80147791872}],"interfaces":[{"name":"eth0","addresses":["192.0.2.2/24","fd00::2/64"],"speed_mbps":null,"loopback":false},{"name":"lo","addresses":["127.0.0.1/8","::1/128"],"speed_mbps":null,"loopback":true}],"gpus":[],"driver_version":null,"cuda_version":null,"gpu_problem":null}','{"format":1,"addresses":["127.0.0.1"],"port":44577}','online',0,1,'0.1.0',1.79544698747008180618e+09);
INSERT INTO "hosts" VALUES('h-2','two','{"format":1,"backend":"rack","region":"r1","network":null,"price_per_hour":1.5,"labels":{"zone":"a"},"spot":false}',1.79544698713362932199e+09,'fedcba9876543210fedcba9876543210','{"format":1,"hostname":"host","arch":"x86_64","os":"Debian GNU/Linux 12 (bookworm)","kernel":"6.1.0-28-amd64","boot_id":"11111111-2222-3333-4444-555555555555","machine_id":"0123456789abcdef0123456789abcdef","cpu_model":"AMD EPYC","cpus":16,"memory_bytes":25276502016,"memory_available_bytes":24415162368,"disks":[{"path":"/","total_bytes":270553174016,"free_bytes":80147709952}],"interfaces":[{"name":"eth0","addresses":["192.0.2.2/24","fd00::2/64"],"speed_mbps":null,"loopback":false},{"name":"lo","addresses":["127.0.0.1/8","::1/128"],"speed_mbps":null,"loopback":true}],"gpus":[],"driver_version":null,"cuda_version":null,"gpu_problem":null}','{"format":1,"addresses":["127.0.0.1"],"port":38603}','online',1,1,'0.1.0',1.79544699187387132646e+09);
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
	PRIMARY KEY (id)
)
 WITHOUT ROWID

;
INSERT INTO "jobs" VALUES('j-1',1,'done-any','admin','f64b1eec-ab83-46b4-b588-5886c1a33077','{"format":1,"name":"done-any","nodes":2,"placement":"any","commands":[],"argv":["echo","hello"],"shell":null,"env":{"SEED":"7"},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0}',1.79544698886394238478e+09,'done','',0,0,0,0,0.0,1.79544698886763691905e+09,1.7954469888819403648e+09,0);
INSERT INTO "jobs" VALUES('j-2',2,'done-cluster','admin','5d53dadf-d356-4176-bbb5-711a1677c694','{"format":1,"name":"done-cluster","nodes":2,"placement":"cluster","commands":[],"argv":["sh","-c","echo $MASTER_ADDR"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0}',1795446989.14652,'done','',0,1,0,0,0.0,1.79544698917189478881e+09,1795446989.18141,0);
INSERT INTO "jobs" VALUES('j-3',3,'failed','admin','25e7782b-e57a-4712-8845-98bc33072ab0','{"format":1,"name":"failed","nodes":1,"placement":"any","commands":[],"argv":["sh","-c","exit 3"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0}',1.7954469894477515221e+09,'failed','1 of 1 nodes failed; first node 0: exit code 3',3,0,0,0,0.0,1.79544698945906162261e+09,1.79544698946142125125e+09,0);
INSERT INTO "jobs" VALUES('j-4',4,'stopped','admin','d00180e8-8d24-43ff-8e75-4d437e2956c3','{"format":1,"name":"stopped","nodes":1,"placement":"any","commands":[],"argv":["sh","-c","echo began; sleep 600"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0}',1.79544698973166966431e+09,'stopped','stopped by admin',NULL,0,0,0,0.0,1.79544698976722407338e+09,1.79544699005156350134e+09,0);
INSERT INTO "jobs" VALUES('j-5',5,'retried','admin','e46d8640-168c-4367-9a7c-d59b8988467e','{"format":1,"name":"retried","nodes":2,"placement":"any","commands":["echo began","[ $DSTACK_NODE_RANK = 1 ] || [ $RALLYPOINT_ATTEMPT != 1 ] || exit 4","sleep 600"],"argv":[],"shell":null,"env":{"A":"b"},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":104857600,"max":null},"disk_bytes":{"min":1073741824,"max":null},"shm_bytes":null,"gpu":null},"max_duration":43200.0,"stop_duration":7.0,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":{"on_events":["error"],"duration":null,"attempts":3},"on_node_failure":"go-on","spread":"host","priority":5}',1.79544699039027309418e+09,'running','',NULL,0,0,0,0.0,1.79544699042836356167e+09,0.0,0);
INSERT INTO "jobs" VALUES('j-6',6,'running-any','admin','222f4aad-ecb8-4cf9-b141-cf7133efc697','{"format":1,"name":"running-any","nodes":2,"placement":"any","commands":[],"argv":["sh","-c","echo began; sleep 600"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0}',1.79544699160094738e+09,'running','',NULL,0,0,0,0.0,1.79544699165570449824e+09,0.0,0);
INSERT INTO "jobs" VALUES('j-7',7,'running-cluster','admin','b3f6f645-a26b-49cd-9cf6-0d78ff59ada2','{"format":1,"name":"running-cluster","nodes":2,"placement":"cluster","commands":[],"argv":["sh","-c","echo began; sleep 600"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0}',1.79544699185980415338e+09,'running','',NULL,1,0,0,0.0,1.79544699191735243797e+09,0.0,0);
INSERT INTO "jobs" VALUES('j-8',8,'stopping','admin','fa192a99-cdad-4dd0-ac0b-1817f55c8ba8','{"format":1,"name":"stopping","nodes":1,"placement":"any","commands":[],"argv":["sh","-c","trap '''' TERM; echo began; while true; do sleep 1; done"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":600.0,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0}',1.79544699292368388175e+09,'stopping','stopped by admin',NULL,0,0,0,0.0,1.7954469929537205696e+09,0.0,0);
INSERT INTO "jobs" VALUES('j-9',9,'waiting','admin','ed66a71f-b3f4-4750-8b3b-dc617b8bb2a5','{"format":1,"name":"waiting","nodes":5,"placement":"cluster","commands":[],"argv":["true"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0}',1.79544699355969262122e+09,'queued','',NULL,0,0,0,0.0,0.0,0.0,0);
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
INSERT INTO "join_tokens" VALUES('14cc27ff','e3dba773a672e7887233e62d03ab63c865c9e3220eb359e355a42f80e1eda4f3',1.79544698665203905111e+09,1.79545058665203905107e+09,NULL,'{}','admin',0);
INSERT INTO "join_tokens" VALUES('77d7c093','a805fdbce9dead9df3ae2ce506c428820635d10372a0e4fa14d62bf23a774a21',1.79544699397829222685e+09,1.79545059397829222681e+09,3,'{"zone": "b"}','admin',0);
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
	PRIMARY KEY (job_id, rank)
)
 WITHOUT ROWID

;
INSERT INTO "nodes" VALUES('j-1',0,'done',1,'h-1',0,'exit','','','',1.7954469888694863319e+09,1.79544698887048459054e+09,6,0,0,0.0);
INSERT INTO "nodes" VALUES('j-1',1,'done',1,'h-2',0,'exit','','','',1.79544698886763691905e+09,1.79544698886897134779e+09,6,0,0,0.0);
INSERT INTO "nodes" VALUES('j-2',0,'done',1,'h-1',0,'exit','','','127.0.0.1',1.79544698917189478881e+09,1.79544698917371582983e+09,10,0,0,0.0);
INSERT INTO "nodes" VALUES('j-2',1,'done',1,'h-2',0,'exit','','','127.0.0.1',1.79544698917526936534e+09,1.79544698917574477195e+09,10,0,0,0.0);
INSERT INTO "nodes" VALUES('j-3',0,'failed',1,'h-1',3,'exit','exit code 3','','',1.79544698945906162261e+09,1.79544698945982646948e+09,0,0,1,1.79544698946142125125e+09);
INSERT INTO "nodes" VALUES('j-4',0,'stopped',1,'h-1',143,'stopped','stopped by admin','','',1.79544698973904395108e+09,1.79544699004247498516e+09,6,0,0,1.79544699005156350134e+09);
INSERT INTO "nodes" VALUES('j-5',0,'running',2,'h-2',NULL,NULL,'attempt 1 on one: exit code 4','','',1.79544699126456069947e+09,0.0,0,0,1,1.79544699040377569196e+09);
INSERT INTO "nodes" VALUES('j-5',1,'running',1,'h-2',NULL,NULL,'','','',1.79544699039921212195e+09,0.0,0,0,0,0.0);
INSERT INTO "nodes" VALUES('j-6',0,'running',1,'h-1',NULL,NULL,'','','',1.7954469916276044846e+09,0.0,0,0,0,0.0);
INSERT INTO "nodes" VALUES('j-6',1,'running',1,'h-1',NULL,NULL,'','','',1.79544699162716984747e+09,0.0,0,0,0,0.0);
INSERT INTO "nodes" VALUES('j-7',0,'running',1,'h-1',NULL,NULL,'','','127.0.0.1',1.79544699188738512995e+09,0.0,0,0,0,0.0);
INSERT INTO "nodes" VALUES('j-7',1,'running',1,'h-2',NULL,NULL,'','','127.0.0.1',1.79544699188776087756e+09,0.0,0,0,0,0.0);
INSERT INTO "nodes" VALUES('j-8',0,'stopping',1,'h-1',NULL,NULL,'stopped by admin','','',1.79544699292658185962e+09,0.0,0,0,0,0.0);
CREATE TABLE users (
	name TEXT NOT NULL, 
	role TEXT NOT NULL, 
	token_hash TEXT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	PRIMARY KEY (name)
)
 WITHOUT ROWID

;
INSERT INTO "users" VALUES('ada','viewer','2ff861d010e682f87793fcba60619eb18d79298fb1a275f1eef75f02caa88fba',1795446993.71536);
INSERT INTO "users" VALUES('admin','admin','92e39ddca76c8a7e80ffe682e20dc164c001ce3571300775d29d51d5bbe05867',1.79544698652986145018e+09);
INSERT INTO "users" VALUES('bob','user','5fcf832c87227dae5c402bfaa7214de6ebab8702577710cc99c4d93da4d11dca',1.7954469938496329784e+09);
COMMIT;
