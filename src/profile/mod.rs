//! Where nodes run: the profile, a small YAML file of a machine or a cluster.
//!
//! It is looked for next to the workflow and then in the user's configuration directory, and is checked as workflow
//! files are: every problem with its place, near names as hints. Nothing in it enters a key.

mod parse;
mod schema;

pub use schema::profile_schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clcc_cache::remote::{Address, RemoteMode};
use serde::{Deserialize, Serialize};

use crate::workflow::{InvalidWorkflow, LoadError, Problem};

/// Its name next to a workflow and in the configuration directory.
pub const PROFILE_FILE: &str = "clcc-flow.yaml";

/// Who runs nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecutorKind {
    /// Child processes on this machine.
    Local,
    /// Slurm.
    Slurm,
    /// Another batch system, by commands that the profile gives.
    Command,
}

/// Names of executors, as they are written.
pub const EXECUTORS: [(&str, ExecutorKind); 3] = [
    ("local", ExecutorKind::Local),
    ("slurm", ExecutorKind::Slurm),
    ("command", ExecutorKind::Command),
];

/// A profile, complete with defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Where it was read from.
    pub file: Option<PathBuf>,
    /// Who runs nodes; default local.
    pub executor: ExecutorKind,
    /// Slurm's partition, account, qos and constraint, as options of `sbatch`, then the extra ones.
    pub options: Vec<String>,
    /// `--gres` for nodes that want an accelerator; default `gpu:1`.
    pub gpu: String,
    /// Nodes that the batch system has at once; default 500.
    pub jobs: usize,
    /// Cores of a node that can use several; default 4.
    pub cores: usize,
    /// Nodes expected to be shorter run on the coordinator's machine; default 30 s.
    pub local_under: Duration,
    /// Cores of the coordinator's machine for those; default all.
    pub local_cores: Option<usize>,
    /// Time limit of nodes of which nothing was learned; default 4 h.
    pub time: Duration,
    /// Short nodes are packed into jobs of about this time; default 10 min.
    pub pack: Duration,
    /// How often a job says that it is alive; default 10 s.
    pub beat: Duration,
    /// A job that the batch system does not know and that was silent for so long is lost; default 120 s.
    pub lost_after: Duration,
    /// How often the batch system is asked, at first; less often while nothing changes, up to 60 s. Default 5 s.
    pub poll: Duration,
    /// A shared cache; default none.
    #[serde(default)]
    pub remote: Option<Address>,
    /// What may be done with it; default all that it can.
    #[serde(default)]
    pub remote_mode: Option<RemoteMode>,
    /// Commands of [`ExecutorKind::Command`].
    pub command: Option<Commands>,
}

/// How another batch system is spoken to. A template is split into words as a shell would, without a shell;
/// `{name}` in a word stands for a value, and `{jobs}` as a word for many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commands {
    /// Hands in `{script}`; its first output line holds the job's id.
    pub submit: Vec<String>,
    /// Which word of that line is the id, from 1; `None`: the first that holds a digit.
    pub submit_id: Option<usize>,
    /// Prints a line a job.
    pub poll: Vec<String>,
    /// Which words of a line are the id and the state, from 1.
    pub columns: (usize, usize),
    /// States by their words; others count as unknown.
    pub states: BTreeMap<String, CommandState>,
    /// Ends `{jobs}`.
    pub cancel: Vec<String>,
}

/// What a word of a batch system means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandState {
    /// It waits.
    Pending,
    /// It runs.
    Running,
    /// It has ended, however.
    Ended,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            file: None,
            executor: ExecutorKind::Local,
            options: Vec::new(),
            gpu: "gpu:1".to_string(),
            jobs: 500,
            cores: 4,
            local_under: Duration::from_secs(30),
            local_cores: None,
            time: Duration::from_secs(4 * 3600),
            pack: Duration::from_secs(600),
            beat: Duration::from_secs(10),
            lost_after: Duration::from_secs(120),
            poll: Duration::from_secs(5),
            remote: None,
            remote_mode: None,
            command: None,
        }
    }
}

impl Profile {
    /// The profile of a run: `given`, or the one next to the workflow, or the user's, or the defaults.
    ///
    /// # Errors
    /// [`LoadError`]: it cannot be read, or is wrong, with every problem.
    pub fn find(given: Option<&Path>, workflow: &Path) -> Result<Self, LoadError> {
        if let Some(file) = given {
            return Self::load(file);
        }
        let beside = workflow
            .parent()
            .unwrap_or(Path::new(""))
            .join(PROFILE_FILE);
        let of_user = config_dir().map(|dir| dir.join(PROFILE_FILE));
        let there = [Some(beside), of_user].into_iter().flatten();
        match there
            .into_iter()
            .find(|file| file.is_file() && file != workflow)
        {
            Some(file) => Self::load(&file),
            None => Ok(Self::default()),
        }
    }

    /// Reads and checks a profile.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn load(file: &Path) -> Result<Self, LoadError> {
        let text = clcc_cache::read_plain_linked(file).map_err(|source| LoadError::Profile {
            file: file.to_path_buf(),
            source,
        })?;
        Ok(Self::parse(file, &text)?)
    }

    /// Checks the text of a profile.
    ///
    /// # Errors
    /// [`InvalidWorkflow`] with every problem.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, InvalidWorkflow> {
        let invalid = |problems| InvalidWorkflow::new(file, problems);
        let text = std::str::from_utf8(bytes)
            .map_err(|_| invalid(vec![Problem::new("expected UTF-8 text")]))?;
        let (value, positions) = crate::workflow::scan(text).map_err(invalid)?;
        parse::profile(file, &value, &positions).map_err(invalid)
    }

    /// Whether nodes may run elsewhere.
    pub fn has_batch_system(&self) -> bool {
        self.executor != ExecutorKind::Local
    }
}

/// `$XDG_CONFIG_HOME/clcc-flow`, or `~/.config/clcc-flow`.
fn config_dir() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    absolute("XDG_CONFIG_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".config")))
        .map(|dir| dir.join("clcc-flow"))
}

/// The words of a command as a shell would split it: blanks between words, quotes around what holds blanks. `None`
/// where a quote is not closed.
pub fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Profile, String> {
        Profile::parse(Path::new("p.yaml"), text.as_bytes()).map_err(|e| e.render())
    }

    #[test]
    fn a_profile_is_read_with_its_defaults() {
        let text = "version: 1\nexecutor: slurm\npartition: short\nqos: normal\naccount: p1\nconstraint: avx2\n\
                    options: [--mail-type=FAIL]\njobs: 50\nlocal: {under: 1m, cores: 2}\ntime: 90m\n";
        let profile = parsed(text).unwrap();
        assert_eq!(profile.executor, ExecutorKind::Slurm);
        let options = [
            "--partition=short",
            "--account=p1",
            "--qos=normal",
            "--constraint=avx2",
            "--mail-type=FAIL",
        ];
        assert_eq!(profile.options, options);
        assert_eq!((profile.jobs, profile.local_cores), (50, Some(2)));
        assert_eq!(profile.local_under, Duration::from_secs(60));
        assert_eq!(profile.time, Duration::from_secs(5400));
        assert_eq!(profile.beat, Duration::from_secs(10));
    }

    #[test]
    fn every_problem_has_its_place_and_near_names() {
        let text = "version: 2\nexecutor: slrum\npartitoin: short\njobs: many\nlocal: {undre: 30s}\ntime: soon\n\
                    options: 3\n";
        let said = parsed(text).unwrap_err();
        for part in [
            "p.yaml:1:10",
            "unknown executor `slrum`",
            "did you mean `slurm`?",
            "p.yaml:2:11",
            "did you mean `partition`?",
            "p.yaml:3:1",
            "p.yaml:4:7",
            "did you mean `under`?",
            "expected a time such as `30s` or `4h`, found the text `soon`",
            "7 problems in `p.yaml`",
        ] {
            assert!(said.contains(part), "{part}\n{said}");
        }
    }

    #[test]
    fn a_shared_cache_is_read_and_checked() {
        let profile = parsed("version: 1\nremote: s3://lab/cohort/\nremote_mode: read\n").unwrap();
        assert_eq!(profile.remote.unwrap().to_string(), "s3://lab/cohort");
        assert_eq!(profile.remote_mode, Some(RemoteMode::Read));
        let said =
            parsed("version: 1\nremote: s4://lab\nremote_mode: rite\nremot: x\n").unwrap_err();
        for part in [
            "p.yaml:2:9",
            "expected `s3://BUCKET/PREFIX`",
            "p.yaml:3:14",
            "did you mean `write`?",
            "did you mean `remote`?",
        ] {
            assert!(said.contains(part), "{part}\n{said}");
        }
        let said = parsed("version: 1\nremote: https://h/x\nremote_mode: write\n").unwrap_err();
        assert!(said.contains("can only be read"), "{said}");
    }

    #[test]
    fn commands_are_asked_for_where_they_are_needed() {
        let said = parsed("version: 1\nexecutor: command\n").unwrap_err();
        assert!(said.contains("`command` is missing"), "{said}");
        let said =
            parsed("version: 1\nexecutor: command\ncommand: {submit: \"qsub 'x\", poll: qstat}\n")
                .unwrap_err();
        for part in [
            "a quote that is not closed",
            "`cancel` is missing",
            "`states` is missing",
            "`{script}`",
        ] {
            assert!(said.contains(part), "{part}\n{said}");
        }
        let text = "version: 1\nexecutor: command\ncommand:\n  submit: qsub {script}\n  poll: qstat -x {jobs}\n  \
                    columns: [1, 5]\n  cancel: qdel {jobs}\n  states: {pending: [Q, H], running: R, ended: [F]}\n";
        let commands = parsed(text).unwrap().command.unwrap();
        assert_eq!(commands.columns, (1, 5));
        assert_eq!(commands.states["H"], CommandState::Pending);
        assert_eq!(commands.states["F"], CommandState::Ended);
    }

    #[test]
    fn words_are_split_as_a_shell_would_and_nothing_is_expanded() {
        let split = |text: &str| words(text).unwrap();
        assert_eq!(split("a  'b c' \"d\"e ''"), ["a", "b c", "de", ""]);
        assert_eq!(split("$HOME ; rm"), ["$HOME", ";", "rm"]);
        assert_eq!(words("a 'b"), None);
    }

    #[test]
    fn the_schema_has_every_key_that_is_read() {
        let schema = profile_schema();
        let keys: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(keys, parse::TOP);
        let keys = |at: &str| -> Vec<String> {
            let of = schema["properties"][at]["properties"].as_object().unwrap();
            of.keys().cloned().collect()
        };
        assert_eq!(keys("local"), parse::LOCAL);
        assert_eq!(keys("command"), parse::COMMAND);
    }
}
