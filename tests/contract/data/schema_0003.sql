BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
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
	variant TEXT DEFAULT '' NOT NULL, 
	share DOUBLE DEFAULT '1' NOT NULL, 
	price DOUBLE DEFAULT '0' NOT NULL, 
	held_since DOUBLE DEFAULT '0' NOT NULL, 
	ready BOOLEAN DEFAULT 0 NOT NULL, 
	behind TEXT, 
	preempted_by TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (id)
)
 WITHOUT ROWID

;
INSERT INTO "allocations" VALUES('j-11.0.1','j-11',0,1,'h-2',1,0,'','running','running',1.79548681021642827981e+09,'',0,'',0.0,'','small',1.0,0.09375,1.79548681021027946476e+09,0,NULL,'');
INSERT INTO "allocations" VALUES('j-11.1.1','j-11',1,1,'h-1',1,0,'','running','running',1.79548681021841406821e+09,'',0,'',0.0,'','small',1.0,0.09375,1.79548681021027946476e+09,0,NULL,'');
INSERT INTO "allocations" VALUES('j-14.0.1','j-14',0,1,'h-2',1,0,'','running','running',1.79548681084678101544e+09,'',0,'',0.0,'','',1.0,0.09375,1.79548681084082794191e+09,0,NULL,'');
INSERT INTO "allocations" VALUES('j-14.1.1','j-14',1,1,'h-1',1,0,'','running','running',1.79548681084645199773e+09,'',0,'',0.0,'','',1.0,0.09375,1.79548681084082794191e+09,0,NULL,'');
INSERT INTO "allocations" VALUES('j-16.0.1','j-16',0,1,'h-1',10,0,'','running','running',1.79548681137894845013e+09,'',0,'',0.0,'','',1.0,0.9375,1.79548681137515330312e+09,0,NULL,'');
INSERT INTO "allocations" VALUES('j-5.0.2','j-5',0,2,'h-2',1,104857600,'','running','running',1.79548680723383331306e+09,'',0,'',0.0,'','',1.0,0.09375,1.79548680722855567935e+09,0,NULL,'');
INSERT INTO "allocations" VALUES('j-5.1.1','j-5',1,1,'h-2',1,104857600,'','running','running',1.79548680637217473988e+09,'',0,'',0.0,'','',1.0,0.09375,1.79548680636168313026e+09,0,NULL,'');
INSERT INTO "allocations" VALUES('j-6.0.1','j-6',0,1,'h-1',1,0,'','running','running',1795486807.60879,'',0,'',0.0,'','',1.0,0.09375,1.79548680758904099464e+09,0,NULL,'');
INSERT INTO "allocations" VALUES('j-6.1.1','j-6',1,1,'h-1',1,0,'','running','running',1.79548680759304332731e+09,'',0,'',0.0,'','',1.0,0.09375,1.79548680758904099464e+09,0,NULL,'');
INSERT INTO "allocations" VALUES('j-7.0.1','j-7',0,1,'h-1',1,0,'','running','running',1.79548680781873536103e+09,'127.0.0.1',20750,'',0.0,'','',1.0,0.09375,1.79548680779689645765e+09,0,NULL,'');
INSERT INTO "allocations" VALUES('j-7.1.1','j-7',1,1,'h-2',1,0,'','running','running',1.79548680781524252897e+09,'127.0.0.1',22254,'',0.0,'','',1.0,0.09375,1.79548680779689645765e+09,0,NULL,'');
INSERT INTO "allocations" VALUES('j-8.0.1','j-8',0,1,'h-1',1,0,'','stopping','stopping',1.79548680866005158423e+09,'',0,'stopped by admin',600.0,'','',1.0,0.09375,1.79548680865523982048e+09,0,NULL,'');
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
CREATE TABLE costs (
	day TEXT NOT NULL, 
	user TEXT NOT NULL, 
	backend TEXT NOT NULL, 
	usd DOUBLE NOT NULL, 
	gpu_seconds DOUBLE NOT NULL, 
	cpu_seconds DOUBLE NOT NULL, 
	attempts BIGINT NOT NULL, 
	PRIMARY KEY (day, user, backend)
)
 WITHOUT ROWID

;
INSERT INTO "costs" VALUES('2026-11-24','admin','rack',9.56945369640986148208e-05,0.0,3.67467021942138671875e+00,10);
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
INSERT INTO "counters" VALUES('served',1795486803);
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
INSERT INTO "gangs" VALUES('j-7',1,'running','','{"format":1,"generation":1,"master_address":"127.0.0.1","master_port":20750,"members":[{"rank":0,"host_id":"h-1","address":"127.0.0.1","slots":1,"gpus":0},{"rank":1,"host_id":"h-2","address":"127.0.0.1","slots":1,"gpus":0}]}','',NULL,0);
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
	vacate_at DOUBLE DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id)
)
 WITHOUT ROWID

;
INSERT INTO "hosts" VALUES('h-1','one','{"format":1,"backend":"rack","region":"r1","network":null,"price_per_hour":1.5,"labels":{"zone":"a"},"spot":false,"instance_type":"","fleet":""}',1.79548680374586200718e+09,'fedcba9876543210fedcba9876543210','{"format":1,"hostname":"host","arch":"x86_64","os":"Debian GNU/Linux 12 (bookworm)","kernel":"6.1.0-28-amd64","boot_id":"11111111-2222-3333-4444-555555555555","machine_id":"0123456789abcdef0123456789abcdef","cpu_model":"AMD EPYC","cpus":16,"memory_bytes":25276502016,"memory_available_bytes":24457392128,"disks":[{"path":"/","total_bytes":270553174016,"free_bytes":72872112128}],"interfaces":[{"name":"eth0","addresses":["192.0.2.2/24","fd00::2/64"],"speed_mbps":null,"loopback":false},{"name":"lo","addresses":["127.0.0.1/8","::1/128"],"speed_mbps":null,"loopback":true}],"gpus":[],"driver_version":null,"cuda_version":null,"gpu_problem":null,"isolation":"cgroup v2, memory limits by cgroup v1","warnings":[],"disk_problem":null,"rdma":[]}','{"format":1,"addresses":["127.0.0.1"],"port":33205}','online',0,1,'0.1.0',1795486804.06329,'',0.0);
INSERT INTO "hosts" VALUES('h-2','two','{"format":1,"backend":"rack","region":"r1","network":null,"price_per_hour":1.5,"labels":{"zone":"a"},"spot":false,"instance_type":"","fleet":""}',1.79548680389985752109e+09,'fedcba9876543210fedcba9876543210','{"format":1,"hostname":"host","arch":"x86_64","os":"Debian GNU/Linux 12 (bookworm)","kernel":"6.1.0-28-amd64","boot_id":"11111111-2222-3333-4444-555555555555","machine_id":"0123456789abcdef0123456789abcdef","cpu_model":"AMD EPYC","cpus":16,"memory_bytes":25276502016,"memory_available_bytes":24418979840,"disks":[{"path":"/","total_bytes":270553174016,"free_bytes":72871641088}],"interfaces":[{"name":"eth0","addresses":["192.0.2.2/24","fd00::2/64"],"speed_mbps":null,"loopback":false},{"name":"lo","addresses":["127.0.0.1/8","::1/128"],"speed_mbps":null,"loopback":true}],"gpus":[],"driver_version":null,"cuda_version":null,"gpu_problem":null,"isolation":"cgroup v2, memory limits by cgroup v1","warnings":[],"disk_problem":null,"rdma":[]}','{"format":1,"addresses":["127.0.0.1"],"port":44723}','online',1,1,'0.1.0',1.79548681088736820218e+09,'',1.79549401158962726593e+09);
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
	spent DOUBLE DEFAULT '0' NOT NULL, 
	starts_at DOUBLE DEFAULT '0' NOT NULL, 
	retried_from BIGINT DEFAULT '0' NOT NULL, 
	preempted BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id)
)
 WITHOUT ROWID

;
INSERT INTO "jobs" VALUES('j-1',1,'done-any','admin','73f30c32-4963-4039-abfa-552aea20d792','{"format":1,"name":"done-any","nodes":2,"placement":"any","commands":[],"argv":["echo","hello"],"shell":null,"env":{"SEED":"7"},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null},"where":{"backends":[],"regions":[],"instance_types":[],"fleets":[],"hosts":[],"labels":{},"max_price":null,"spot":"auto"},"optimize":"cost","near":null,"variants":[],"groups":[],"startup_order":"any","matrix":null,"max_running":null,"after":[],"schedule":null,"preemptible":false,"budget":null,"utilization":null}',1.79548680503871273999e+09,'done','',0,0,0,0,0.0,1795486805.06613,1.79548680506990242008e+09,0,'',0,1.79548680503871250155e+09,1.57199800014495856383e-06,0.0,0,0);
INSERT INTO "jobs" VALUES('j-10',10,'failed-twice','admin','76766b69-a8ab-4993-acc1-2ada3133544f','{"format":1,"name":"failed-twice","nodes":1,"placement":"any","commands":[],"argv":["sh","-c","exit 5"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null},"where":{"backends":[],"regions":[],"instance_types":[],"fleets":[],"hosts":[],"labels":{},"max_price":null,"spot":"auto"},"optimize":"cost","near":null,"variants":[],"groups":[],"startup_order":"any","matrix":null,"max_running":null,"after":[],"schedule":null,"preemptible":false,"budget":null,"utilization":null}',1.79548680975675082208e+09,'failed','1 of 1 nodes failed; first node 0: exit code 5',5,0,0,0,0.0,1.79548680976108217246e+09,1.79548680992893099788e+09,0,'',0,1.795486809913631916e+09,8.08785359064738e-07,0.0,0,0);
INSERT INTO "jobs" VALUES('j-11',11,'variants','admin','426231f8-008f-4d91-ba6d-6850ae952d67','{"format":1,"name":"variants","nodes":2,"placement":"any","commands":["echo began","sleep 600"],"argv":[],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null},"where":{"backends":[],"regions":[],"instance_types":[],"fleets":[],"hosts":[],"labels":{},"max_price":null,"spot":"auto"},"optimize":"cost","near":null,"variants":[{"name":"large","resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":{"vendor":null,"names":["H100"],"count":{"min":1,"max":1},"memory_bytes":{"min":null,"max":null},"total_memory_bytes":{"min":null,"max":null},"min_compute_capability":null,"share":null}},"env":{},"commands":[],"argv":[],"precision":"fp8","speed":2.5},{"name":"small","resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"env":{"BATCH":"32"},"commands":[],"argv":[],"precision":"fp32","speed":null}],"groups":[],"startup_order":"any","matrix":null,"max_running":null,"after":[],"schedule":null,"preemptible":false,"budget":null,"utilization":null}',1.7954868102102797032e+09,'running','',NULL,0,0,0,0.0,1.79548681025789690014e+09,0.0,0,'',0,1.79548681021027946476e+09,0.0,0.0,0,0);
INSERT INTO "jobs" VALUES('j-12',12,'nightly','admin','c16acb0d-3d72-487e-93ea-bdadaa031e01','{"format":1,"name":"nightly","nodes":1,"placement":"any","commands":[],"argv":["true"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null},"where":{"backends":[],"regions":[],"instance_types":[],"fleets":[],"hosts":[],"labels":{},"max_price":null,"spot":"auto"},"optimize":"cost","near":null,"variants":[],"groups":[],"startup_order":"any","matrix":null,"max_running":null,"after":[],"schedule":"0 2 * * *","preemptible":false,"budget":null,"utilization":null}',1.79548681042596673966e+09,'queued','',NULL,0,0,0,0.0,0.0,0.0,0,'',0,1.79548681042596673966e+09,0.0,1795572000.0,0,0);
INSERT INTO "jobs" VALUES('j-13',13,'after','admin','7c8d03d2-54fb-4a0f-8b92-d9d4e8cf224c','{"format":1,"name":"after","nodes":1,"placement":"any","commands":[],"argv":["true"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null},"where":{"backends":[],"regions":[],"instance_types":[],"fleets":[],"hosts":[],"labels":{},"max_price":null,"spot":"auto"},"optimize":"cost","near":null,"variants":[],"groups":[],"startup_order":"any","matrix":null,"max_running":null,"after":[{"job":"j-6","when":"done"}],"schedule":null,"preemptible":false,"budget":null,"utilization":null}',1.79548681063371706008e+09,'queued','',NULL,0,0,0,0.0,0.0,0.0,0,'',0,1.79548681063371682164e+09,0.0,0.0,0,0);
INSERT INTO "jobs" VALUES('j-14',14,'swept','admin','f25fd5b0-ad74-46ff-96c8-6180b1ecbd51','{"format":1,"name":"swept","nodes":6,"placement":"any","commands":[],"argv":["sleep","600"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null},"where":{"backends":[],"regions":[],"instance_types":[],"fleets":[],"hosts":[],"labels":{},"max_price":null,"spot":"auto"},"optimize":"cost","near":null,"variants":[],"groups":[],"startup_order":"any","matrix":{"axes":[{"name":"index","values":[],"first":0,"last":5,"step":1}],"excluded":[],"included":[],"source":"array"},"max_running":2,"after":[],"schedule":null,"preemptible":false,"budget":100.0,"utilization":null}',1.79548681084082818034e+09,'running','',NULL,0,0,0,0.0,1.79548681088736820218e+09,0.0,0,'',0,1.79548681084082794191e+09,0.0,0.0,0,0);
INSERT INTO "jobs" VALUES('j-15',15,'preempted','admin','217d67cb-ec2d-4b32-b7cf-2ad40f0fe750','{"format":1,"name":"preempted","nodes":1,"placement":"any","commands":[],"argv":["sh","-c","echo began; sleep 600"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":10,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null},"where":{"backends":[],"regions":[],"instance_types":[],"fleets":[],"hosts":["one"],"labels":{},"max_price":null,"spot":"auto"},"optimize":"cost","near":null,"variants":[],"groups":[],"startup_order":"any","matrix":null,"max_running":null,"after":[],"schedule":null,"preemptible":true,"budget":null,"utilization":null}',1.79548681105012154584e+09,'running','',NULL,0,0,0,0.0,1.79548681109640455248e+09,0.0,0,'',0,1.79548681105012106892e+09,8.46438109874725396006e-05,0.0,0,1);
INSERT INTO "jobs" VALUES('j-16',16,'preempts','admin','1b52f1f6-44e1-49c7-af38-9aa6bd2b94d4','{"format":1,"name":"preempts","nodes":1,"placement":"any","commands":[],"argv":["sh","-c","echo began; sleep 600"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":10,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":50,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null},"where":{"backends":[],"regions":[],"instance_types":[],"fleets":[],"hosts":["one"],"labels":{},"max_price":null,"spot":"auto"},"optimize":"cost","near":null,"variants":[],"groups":[],"startup_order":"any","matrix":null,"max_running":null,"after":[],"schedule":null,"preemptible":false,"budget":null,"utilization":null}',1.79548681136629366874e+09,'running','',NULL,0,0,0,0.0,1.79548681141843342783e+09,0.0,0,'',0,1.79548681136629366874e+09,0.0,0.0,0,0);
INSERT INTO "jobs" VALUES('j-2',2,'done-cluster','admin','e3d8a88d-d22c-4bb5-9927-7a34da88a355','{"format":1,"name":"done-cluster","nodes":2,"placement":"cluster","commands":[],"argv":["sh","-c","echo $MASTER_ADDR"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null},"where":{"backends":[],"regions":[],"instance_types":[],"fleets":[],"hosts":[],"labels":{},"max_price":null,"spot":"auto"},"optimize":"cost","near":null,"variants":[],"groups":[],"startup_order":"any","matrix":null,"max_running":null,"after":[],"schedule":null,"preemptible":false,"budget":null,"utilization":null}',1.79548680531131386751e+09,'done','',0,1,0,0,0.0,1.79548680532595849039e+09,1.79548680533752346042e+09,0,'',0,1.79548680531131362911e+09,1.33811185757319129393e-06,0.0,0,0);
INSERT INTO "jobs" VALUES('j-3',3,'failed','admin','fa35d5d2-77d7-410b-8769-7c74be846423','{"format":1,"name":"failed","nodes":1,"placement":"any","commands":[],"argv":["sh","-c","exit 3"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null},"where":{"backends":[],"regions":[],"instance_types":[],"fleets":[],"hosts":[],"labels":{},"max_price":null,"spot":"auto"},"optimize":"cost","near":null,"variants":[],"groups":[],"startup_order":"any","matrix":null,"max_running":null,"after":[],"schedule":null,"preemptible":false,"budget":null,"utilization":null}',1.79548680557690858846e+09,'failed','1 of 1 nodes failed; first node 0: exit code 3',3,0,0,0,0.0,1.79548680558105230335e+09,1.7954868055975310802e+09,0,'',0,1.79548680557690811159e+09,5.37050267060597713662e-07,0.0,0,0);
INSERT INTO "jobs" VALUES('j-4',4,'stopped','admin','6904f66b-572d-439c-9d38-e9b339712b1a','{"format":1,"name":"stopped","nodes":1,"placement":"any","commands":[],"argv":["sh","-c","echo began; sleep 600"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null},"where":{"backends":[],"regions":[],"instance_types":[],"fleets":[],"hosts":[],"labels":{},"max_price":null,"spot":"auto"},"optimize":"cost","near":null,"variants":[],"groups":[],"startup_order":"any","matrix":null,"max_running":null,"after":[],"schedule":null,"preemptible":false,"budget":null,"utilization":null}',1.79548680582759332662e+09,'stopped','stopped by admin',NULL,0,0,0,0.0,1.79548680587716913219e+09,1.79548680606553244585e+09,0,'',0,1.79548680582759308818e+09,6.19633123278617879226e-06,0.0,0,0);
INSERT INTO "jobs" VALUES('j-5',5,'retried','admin','96192922-a968-470d-8176-6a5477caf8b2','{"format":1,"name":"retried","nodes":2,"placement":"any","commands":["echo began","[ $DSTACK_NODE_RANK = 1 ] || [ $RALLYPOINT_ATTEMPT != 1 ] || exit 4","sleep 600"],"argv":[],"shell":null,"env":{"A":"b"},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":104857600,"max":null},"disk_bytes":{"min":1073741824,"max":null},"shm_bytes":null,"gpu":null},"max_duration":43200.0,"stop_duration":7.0,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":{"on_events":["error"],"duration":null,"attempts":3},"on_node_failure":"go-on","spread":"host","priority":5,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null},"where":{"backends":[],"regions":[],"instance_types":[],"fleets":[],"hosts":[],"labels":{},"max_price":null,"spot":"auto"},"optimize":"cost","near":null,"variants":[],"groups":[],"startup_order":"any","matrix":null,"max_running":null,"after":[],"schedule":null,"preemptible":false,"budget":null,"utilization":null}',1.79548680636168313026e+09,'running','',NULL,0,0,0,0.0,1.79548680641377496718e+09,0.0,0,'',0,1.79548680636168313026e+09,5.9844925999641422269e-07,0.0,0,0);
INSERT INTO "jobs" VALUES('j-6',6,'running-any','admin','a487d752-2069-4981-84a9-ad55964a7eb5','{"format":1,"name":"running-any","nodes":2,"placement":"any","commands":[],"argv":["sh","-c","echo began; sleep 600"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null},"where":{"backends":[],"regions":[],"instance_types":[],"fleets":[],"hosts":[],"labels":{},"max_price":null,"spot":"auto"},"optimize":"cost","near":null,"variants":[],"groups":[],"startup_order":"any","matrix":null,"max_running":null,"after":[],"schedule":null,"preemptible":false,"budget":null,"utilization":null}',1.79548680758904147152e+09,'running','',NULL,0,0,0,0.0,1.79548680765231585508e+09,0.0,0,'',0,1.79548680758904099464e+09,0.0,0.0,0,0);
INSERT INTO "jobs" VALUES('j-7',7,'running-cluster','admin','46aa9512-d7e0-49ca-af01-2720af76c183','{"format":1,"name":"running-cluster","nodes":2,"placement":"cluster","commands":[],"argv":["sh","-c","echo began; sleep 600"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null},"where":{"backends":[],"regions":[],"instance_types":[],"fleets":[],"hosts":[],"labels":{},"max_price":null,"spot":"auto"},"optimize":"cost","near":null,"variants":[],"groups":[],"startup_order":"any","matrix":null,"max_running":null,"after":[],"schedule":null,"preemptible":false,"budget":null,"utilization":null}',1.79548680779689669604e+09,'running','',NULL,1,0,0,0.0,1.79548680781783533098e+09,0.0,0,'',0,1.79548680779689645765e+09,0.0,0.0,0,0);
INSERT INTO "jobs" VALUES('j-8',8,'stopping','admin','02a32430-c242-4367-bf9e-8e700121e44b','{"format":1,"name":"stopping","nodes":1,"placement":"any","commands":[],"argv":["sh","-c","trap '''' TERM; echo began; while true; do sleep 1; done"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":600.0,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null},"where":{"backends":[],"regions":[],"instance_types":[],"fleets":[],"hosts":[],"labels":{},"max_price":null,"spot":"auto"},"optimize":"cost","near":null,"variants":[],"groups":[],"startup_order":"any","matrix":null,"max_running":null,"after":[],"schedule":null,"preemptible":false,"budget":null,"utilization":null}',1.79548680865523982048e+09,'stopping','stopped by admin',NULL,0,0,0,0.0,1.79548680870070242882e+09,0.0,0,'',0,1.79548680865523982048e+09,0.0,0.0,0,0);
INSERT INTO "jobs" VALUES('j-9',9,'waiting','admin','e7e941f6-65f1-4716-b212-3c2533c224c6','{"format":1,"name":"waiting","nodes":5,"placement":"cluster","commands":[],"argv":["true"],"shell":null,"env":{},"working_dir":null,"resources":{"cpu_arch":null,"cpus":{"min":1,"max":null},"memory_bytes":{"min":null,"max":null},"disk_bytes":{"min":null,"max":null},"shm_bytes":null,"gpu":null},"max_duration":null,"stop_duration":null,"stop_signal":null,"stop_criteria":"all-done","files":null,"retry":null,"on_node_failure":"go-on","spread":"host","priority":0,"redundancy":1,"spares":0,"on_disconnect":{"action":"stop","after":null},"where":{"backends":[],"regions":[],"instance_types":[],"fleets":[],"hosts":[],"labels":{},"max_price":null,"spot":"auto"},"optimize":"cost","near":null,"variants":[],"groups":[],"startup_order":"any","matrix":null,"max_running":null,"after":[],"schedule":null,"preemptible":false,"budget":null,"utilization":null}',1.79548680921862173075e+09,'queued','',NULL,0,0,0,0.0,0.0,0.0,0,'',0,1.79548680921862125392e+09,0.0,0.0,0,0);
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
INSERT INTO "join_tokens" VALUES('cd494853','aa8b03fede06e1437dbb3206742f36c56818298dbb5e63b25f31aa6a7271f441',1.7954868095638589859e+09,1.79549040956385898585e+09,3,'{"zone": "b"}','admin',0);
INSERT INTO "join_tokens" VALUES('eee1a954','2e0a29ccc215032dec82f86a118eb1171456a0178b370648cf7863b499935aa9',1.79548680360486721989e+09,1.79549040360486721989e+09,NULL,'{}','admin',0);
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
	variant TEXT DEFAULT '' NOT NULL, 
	retried_from BIGINT DEFAULT '0' NOT NULL, 
	preempted BIGINT DEFAULT '0' NOT NULL, 
	left_host_id TEXT, 
	PRIMARY KEY (job_id, rank)
)
 WITHOUT ROWID

;
INSERT INTO "nodes" VALUES('j-1',0,'done',1,'h-1',0,'exit','','','',1795486805.06613,1.79548680506668114666e+09,6,0,0,0.0,0,0,NULL,'',0,0,NULL);
INSERT INTO "nodes" VALUES('j-1',1,'done',1,'h-2',0,'exit','','','',1.79548680506623578069e+09,1.79548680506726622586e+09,6,0,0,0.0,0,0,NULL,'',0,0,NULL);
INSERT INTO "nodes" VALUES('j-10',0,'failed',2,'h-1',5,'exit','exit code 5','','',1.79548680991753387449e+09,1.79548680992812657352e+09,0,0,1,1.79548680992893075949e+09,0,0,'h-1','',1,0,NULL);
INSERT INTO "nodes" VALUES('j-11',0,'running',1,'h-2',NULL,NULL,'','','',1.79548681021642827981e+09,0.0,0,0,0,0.0,0,0,NULL,'small',0,0,NULL);
INSERT INTO "nodes" VALUES('j-11',1,'running',1,'h-1',NULL,NULL,'','','',1.79548681021841406821e+09,0.0,0,0,0,0.0,0,0,NULL,'small',0,0,NULL);
INSERT INTO "nodes" VALUES('j-14',0,'running',1,'h-2',NULL,NULL,'','','',1.79548681084678101544e+09,0.0,0,0,0,0.0,0,0,NULL,'',0,0,NULL);
INSERT INTO "nodes" VALUES('j-14',1,'running',1,'h-1',NULL,NULL,'','','',1.79548681084645199773e+09,0.0,0,0,0,0.0,0,0,NULL,'',0,0,NULL);
INSERT INTO "nodes" VALUES('j-15',0,'pending',1,'h-1',143,'preempted','preempted by job preempts (priority 50)','','',1.79548681105468535424e+09,1.7954868113731217384e+09,6,0,0,0.0,0,0,NULL,'',0,1,'h-1');
INSERT INTO "nodes" VALUES('j-16',0,'running',1,'h-1',NULL,NULL,'','','',1.79548681137894845013e+09,0.0,0,0,0,0.0,0,0,NULL,'',0,0,NULL);
INSERT INTO "nodes" VALUES('j-2',0,'done',1,'h-1',0,'exit','','','127.0.0.1',1.79548680532677316663e+09,1.79548680533621120456e+09,10,0,0,0.0,0,0,NULL,'',0,0,NULL);
INSERT INTO "nodes" VALUES('j-2',1,'done',1,'h-2',0,'exit','','','127.0.0.1',1.79548680532595849039e+09,1.79548680533562946318e+09,10,0,0,0.0,0,0,NULL,'',0,0,NULL);
INSERT INTO "nodes" VALUES('j-3',0,'failed',1,'h-1',3,'exit','exit code 3','','',1.79548680558105230335e+09,1.79548680559574842449e+09,0,0,1,1.7954868055975308418e+09,0,0,'h-1','',0,0,NULL);
INSERT INTO "nodes" VALUES('j-4',0,'stopped',1,'h-1',143,'stopped','stopped by admin','','',1.79548680583074331284e+09,1.79548680606018900866e+09,6,0,0,1.79548680606553220746e+09,0,0,'h-1','',0,0,NULL);
INSERT INTO "nodes" VALUES('j-5',0,'running',2,'h-2',NULL,NULL,'attempt 1 on one: exit code 4','','',1.79548680723383331306e+09,0.0,0,0,1,1.79548680638466358187e+09,0,0,'h-1','',0,0,NULL);
INSERT INTO "nodes" VALUES('j-5',1,'running',1,'h-2',NULL,NULL,'','','',1.79548680637217473988e+09,0.0,0,0,0,0.0,0,0,NULL,'',0,0,NULL);
INSERT INTO "nodes" VALUES('j-6',0,'running',1,'h-1',NULL,NULL,'','','',1795486807.60879,0.0,0,0,0,0.0,0,0,NULL,'',0,0,NULL);
INSERT INTO "nodes" VALUES('j-6',1,'running',1,'h-1',NULL,NULL,'','','',1.79548680759304332731e+09,0.0,0,0,0,0.0,0,0,NULL,'',0,0,NULL);
INSERT INTO "nodes" VALUES('j-7',0,'running',1,'h-1',NULL,NULL,'','','127.0.0.1',1.79548680781873536103e+09,0.0,0,0,0,0.0,0,0,NULL,'',0,0,NULL);
INSERT INTO "nodes" VALUES('j-7',1,'running',1,'h-2',NULL,NULL,'','','127.0.0.1',1.79548680781524252897e+09,0.0,0,0,0,0.0,0,0,NULL,'',0,0,NULL);
INSERT INTO "nodes" VALUES('j-8',0,'stopping',1,'h-1',NULL,NULL,'stopped by admin','','',1.79548680865998792647e+09,0.0,0,0,0,0.0,0,0,NULL,'',0,0,NULL);
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
INSERT INTO "users" VALUES('ada','viewer','11b984851cd2c51b230b21161cd357b1abb8629c2786f85df82fbc7b4aca2676',1.79548680935611844064e+09);
INSERT INTO "users" VALUES('admin','admin','09d8147c10adb83245434d75e8fc1e2c8b724df2021cea2fae405b9447d9ef4c',1.7954868034975049496e+09);
INSERT INTO "users" VALUES('bob','user','c9e230315a5d64cdf5ac965b12101d38b9e312083bd5a52fab967bb21b322839',1.79548680946264338498e+09);
COMMIT;
